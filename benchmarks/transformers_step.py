"""The passes of the Q-Former that transformers' Blip2QFormerModel can run, beside ours.

transformers has the layers, but no text embeddings, cache or LM head: it reads clouds with queries,
and queries with embedded text under a padding mask (matching). Same weights and inputs, forward and
backward, interleaved in one process; states and gradients are compared in the same run.

    python -m benchmarks.transformers_step            # about four minutes of one core
    python -m benchmarks.transformers_step --quick    # 2 layers, batch 4, under two minutes
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.record import Record, parse_options
from benchmarks.stage1_step import Step, build, make_batch, random_bert, timed
from lavis.common.launch import keep_freed_memory


def transformers_qformer(model: Step) -> nn.Module:
    """Build Blip2QFormerModel with our weights."""
    from transformers import Blip2QFormerConfig, Blip2QFormerModel

    ours = model.qformer.config
    config = Blip2QFormerConfig(
        vocab_size=ours.vocab_size,
        hidden_size=ours.hidden_size,
        num_hidden_layers=ours.num_hidden_layers,
        num_attention_heads=ours.num_attention_heads,
        intermediate_size=ours.intermediate_size,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        cross_attention_frequency=ours.cross_attention_freq,
        encoder_hidden_size=ours.encoder_width,
        use_qformer_text_input=True,
    )
    theirs = Blip2QFormerModel(config)
    state = {
        name.replace("attention.self.", "attention.attention."): tensor
        for name, tensor in model.qformer.bert.state_dict().items()
    }
    state = {name: tensor for name, tensor in state.items() if name.startswith("encoder.")}
    norm = model.qformer.bert.embeddings.LayerNorm
    theirs.load_state_dict(
        state | {"layernorm.weight": norm.weight, "layernorm.bias": norm.bias}, strict=True
    )
    return theirs.to(model.device).train()


def projected(model: Step, tokens: Tensor) -> Tensor:
    """Lift cloud tokens as both sides read them."""
    return tokens if model.pc_projection is None else tokens @ model.pc_projection


def passes(model: Step, theirs: nn.Module, batch: dict[str, Tensor], tokens: Tensor) -> dict:
    """Return for each pass (ours, transformers'): functions to query states [M,Q,C]."""
    qformer = model.qformer
    negatives = batch["negatives"][1]
    longest = int(batch["mask"].sum(1).max())
    ids = torch.cat([batch["ids"], batch["ids"][negatives]])[:, :longest]
    mask = torch.cat([batch["mask"], batch["mask"][negatives]])[:, :longest]
    num_queries = qformer.query_tokens.shape[1]

    def our_query() -> Tensor:
        return qformer.query_pass(model.project_cloud(tokens))[0]

    def their_query() -> Tensor:
        queries = qformer.query_tokens.expand(len(tokens), -1, -1)
        output = theirs(query_embeds=queries, encoder_hidden_states=projected(model, tokens))
        return output.last_hidden_state

    def our_matching() -> Tensor:
        return qformer.joint_pass(model.project_cloud(tokens), ids, mask)

    def their_matching() -> Tensor:
        embeddings = qformer.bert.embeddings
        words = embeddings.word_embeddings(ids)
        words = words + embeddings.position_embeddings.weight[:longest]
        queries = qformer.query_tokens.expand(len(ids), -1, -1)
        cloud = projected(model, tokens)
        output = theirs(
            query_embeds=torch.cat([queries, words], 1),
            query_length=num_queries,
            attention_mask=nn.functional.pad(mask, (num_queries, 0), value=1),
            encoder_hidden_states=torch.cat([cloud, cloud]),
        )
        return output.last_hidden_state[:, :num_queries]

    return {"query_pass": (our_query, their_query), "matching_pass": (our_matching, their_matching)}


def backward(model: Step, states: Callable[[], Tensor], weights: Tensor) -> dict[str, Tensor]:
    """Run forward and backward of a fixed linear function of the states."""
    found = states()
    (found * weights).sum().backward()
    return {"states": found.detach()}


def measure(options: argparse.Namespace, width: int | None, bert: str) -> Iterator[dict[str, Any]]:
    """Measure both passes for one width of the cloud tokens."""
    model, batch = build(options, width, bert), make_batch(options.batch, options.device)
    theirs = transformers_qformer(model)
    with torch.no_grad():
        tokens = model.point_tokens({"point_cloud": batch["cloud"]})
    for name, (ours, usual) in passes(model, theirs, batch, tokens).items():
        torch.manual_seed(0)
        weights = torch.randn_like(ours().detach())
        for way in (ours, usual):  # the first run of a shape pays for memory and kernels
            timed(model, backward, way, weights)
        seconds: dict[str, list[float]] = {"ours": [], "transformers": []}
        for _ in tqdm(range(options.rounds), desc=f"{name}, projection {width}"):
            spent, found = timed(model, backward, ours, weights)
            seconds["ours"].append(spent)
            gradient = model.qformer.query_tokens.grad.clone()
            theirs.zero_grad(set_to_none=True)
            spent, expected = timed(model, backward, usual, weights)
            seconds["transformers"].append(spent)
            reference = model.qformer.query_tokens.grad
        median = {way: statistics.median(values) for way, values in seconds.items()}
        yield {
            "pass": name,
            "projection": width,
            "seconds": median,
            "speedup": median["transformers"] / median["ours"],
            "states_max_difference": float((found["states"] - expected["states"]).abs().max()),
            "query_gradient_relative_difference": float(
                (gradient - reference).norm() / reference.norm()
            ),
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both widths and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--layers", type=int, default=12, help="layers of the Q-Former")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    small = {"layers": 2, "batch": 4, "rounds": 1}
    options = parse_options(parser, "transformers_step", arguments, **small)
    what = "forward and backward, float32; median of the rounds; on CPU seconds of the processor"
    record = Record("transformers_step", options, what=what)
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as train.py does; page faults are neither way's work
    with tempfile.TemporaryDirectory() as folder:
        bert = random_bert(Path(folder), options.layers)
        for width in (None, 1408):
            for row in measure(options, width, bert):
                record.add(row)
    compared = ("states_max_difference", "query_gradient_relative_difference")
    speedups = {
        f"{row['pass']}{'_projected' if row['projection'] else ''}_speedup": row["speedup"]
        for row in record.rows
    }
    equality = {name: max(row[name] for row in record.rows) for name in compared}
    record.finish(speedups, equality)


if __name__ == "__main__":
    main()
