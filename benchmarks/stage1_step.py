"""One stage-1 step of PointBLIP, forward and backward: ours beside the usual layout.

Same weights, batch and hard negatives, interleaved in one process; losses, gradients and the point
tokens of both encoders are compared in the same run. Two rows: cloud tokens read as they are (384
wide), and with PointBLIP's projection to BLIP-2's 1408. `frozen` includes the frozen Point-BERT in
both, each in its way; `cached` takes ours from stored features, against the usual step, which
encodes; `qformer` leaves the encoder out on both sides.

    python -m benchmarks.stage1_step                  # about six minutes of one core
    python -m benchmarks.stage1_step --device cuda --rounds 20
    python -m benchmarks.stage1_step --quick          # 2 layers, batch 4, under two minutes
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.record import Record, parse_options
from benchmarks.usual_point_bert import usual_point_tokens
from benchmarks.usual_qformer import usual_losses
from lavis.common.launch import keep_freed_memory
from lavis.models.contrastive import (
    Temperature,
    contrast_targets,
    info_nce,
    max_over_queries,
    pair_keys,
)
from lavis.models.point_blip_models.point_blip import PointBlip
from lavis.models.point_blip_models.right_pairs import PairKeys

# Lengths in tokens, [CLS] and [SEP] included, of captions as Cap3D writes them: 18 on average.
LENGTHS = (10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 24, 26, 30)
PADDED = 32


class Step(PointBlip):
    """PointBLIP with hard negatives that are given, so that both ways compute the same."""

    negatives: Tensor

    def ours(self, point_tokens: Tensor, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Compute the three losses as `forward` does, from tokens [B,G,D] and trimmed text."""
        cloud = self.project_cloud(point_tokens)
        states, cache = self.qformer.query_pass(cloud)
        texts = self.embed_text_tokens(ids, mask)
        points, keys = self.embed_queries(states), pair_keys(len(ids), device=ids.device)
        ptc = info_nce(
            points,
            texts,
            scale=Temperature(self.temperature()),
            targets=contrast_targets(keys, keys),
            all_a=points,
            all_b=texts,
            similarity=max_over_queries,
        )
        similarity = self.contrast_similarity(points, texts)
        ptm = self.matching_loss(
            point_tokens, cloud, ids, mask, similarity, PairKeys(keys, keys, keys, keys)
        )
        return {"ptc": ptc, "ptm": ptm, "ptg": self.caption_loss(ids, mask, cache)}

    def draw_negatives(self, similarity: tuple[Tensor, Tensor], keys: PairKeys) -> tuple:
        """Return the given negatives, all valid."""
        valid = torch.ones_like(self.negatives[0], dtype=torch.bool)
        return (self.negatives[0], valid), (self.negatives[1], valid)


def build(options: argparse.Namespace, width: int | None, bert: str) -> Step:
    """Build PointBLIP in the release's sizes, without dropout (so that results can be compared)."""
    from lavis.models.point_blip_models.config import PointBlipConfig

    torch.manual_seed(0)
    model = Step(PointBlipConfig(qformer_bert=bert, qformer_width=width))
    return model.to(options.device).train()


def random_bert(folder: Path, layers: int) -> str:
    """Write a BERT-base of random weights with MiniLM's tokenizer."""
    import shutil

    from transformers import BertConfig, BertModel

    from lavis.models.weights.builtin import resolve_pretrained

    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(Path(resolve_pretrained("minilm")) / name, folder)
    config = BertConfig(
        num_hidden_layers=layers, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    BertModel(config).save_pretrained(folder)
    return str(folder)


def make_batch(size: int, device: str) -> dict[str, Tensor]:
    """Draw clouds and texts of natural length."""
    generator = torch.Generator().manual_seed(0)
    places = (2 * torch.arange(size) + 1) * len(LENGTHS) // (2 * size)  # even quantiles
    lengths = torch.tensor(LENGTHS)[places][torch.randperm(size, generator=generator)]
    mask = (torch.arange(PADDED)[None] < lengths[:, None]).long()
    ids = torch.randint(1000, 30000, (size, PADDED), generator=generator) * mask
    cloud = torch.rand(size, 8192, 3, generator=generator) * 2 - 1
    cloud = cloud / cloud.norm(dim=-1).amax(1)[:, None, None]
    shift = torch.arange(size)
    negatives = torch.stack([(shift + 1) % size, (shift + 3) % size])
    batch = {"cloud": cloud, "ids": ids, "mask": mask, "negatives": negatives}
    return {name: tensor.to(device) for name, tensor in batch.items()}


def usual_step(model: Step, batch: dict[str, Tensor], tokens: Tensor | None = None) -> dict:
    """One usual step: encode (unless tokens are given), project, three losses, backward."""
    if tokens is None:
        tokens = usual_point_tokens(model.point_encoder, batch["cloud"])
    projected = tokens if model.pc_projection is None else tokens @ model.pc_projection
    found = usual_losses(model, projected, batch["ids"], batch["mask"], batch["negatives"])
    torch.stack(list(found.values())).sum().backward()
    return found


def our_step(model: Step, batch: dict[str, Tensor], tokens: Tensor | None = None) -> dict:
    """One step of ours: encode (unless tokens are given), trim the text, losses, backward."""
    tokens = model.point_tokens({"point_cloud": batch["cloud"]}) if tokens is None else tokens
    longest = int(batch["mask"].sum(1).max())
    found = model.ours(tokens, batch["ids"][:, :longest], batch["mask"][:, :longest])
    torch.stack(list(found.values())).sum().backward()
    return found


def timed(model: Step, step, *arguments) -> tuple[float, dict]:
    """Run a step on fresh gradients; seconds and losses.

    On CPU seconds of the processor, which other jobs on the machine do not lengthen.
    """
    model.zero_grad(set_to_none=True)
    on_gpu = model.device.type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    if on_gpu:
        torch.cuda.synchronize()
    start = clock()
    found = step(model, *arguments)
    if on_gpu:
        torch.cuda.synchronize()
    return clock() - start, found


def gradients(model: Step) -> dict[str, Tensor]:
    """Copy the gradients."""
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def equality(model: Step, batch: dict[str, Tensor], tokens: Tensor) -> dict[str, float]:
    """Compare losses and gradients of both ways on the same tokens."""
    usual = timed(model, usual_step, batch, tokens)[1]
    expected = gradients(model)
    ours = timed(model, our_step, batch, tokens)[1]
    found = gradients(model)
    return {
        "losses_max_difference": max(abs(usual[n].item() - ours[n].item()) for n in usual),
        "gradients_max_relative_difference": max(
            float((found[n] - g).norm() / g.norm())
            for n, g in expected.items()
            if not n.endswith("key.bias")  # zero but for rounding
        ),
        "gradients_compared": len(expected),
    }


def cost(model: Step, step, batch: dict[str, Tensor], tokens: Tensor) -> dict[str, float]:
    """Count a step's multiply-adds times two, and the bytes it keeps for backward."""
    from torch.utils.flop_counter import FlopCounterMode

    kept: dict[int, int] = {}
    of_model = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in of_model:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    counter = FlopCounterMode(display=False)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), counter:
        timed(model, step, batch, tokens)
    return {"gflop": counter.get_total_flops() / 1e9, "saved_megabytes": sum(kept.values()) / 1e6}


def matmul_gflops(device: str) -> float:
    """Measure what one large float32 product reaches here."""
    matrix = torch.rand(2048, 2048, device=device)
    on_gpu = device != "cpu"
    clock = time.perf_counter if on_gpu else time.process_time
    best = float("inf")
    for _ in range(10):
        start = clock()
        matrix @ matrix
        if on_gpu:
            torch.cuda.synchronize()
        best = min(best, clock() - start)
    return 2 * 2048**3 / best / 1e9


def measure(options: argparse.Namespace, width: int | None, bert: str) -> dict:
    """Measure one layout of the cloud tokens."""
    model, batch = build(options, width, bert), make_batch(options.batch, options.device)
    model.negatives = batch["negatives"]
    with torch.no_grad():
        tokens = model.point_tokens({"point_cloud": batch["cloud"]})
    found = equality(model, batch, tokens)
    usual_tokens = usual_point_tokens(model.point_encoder, batch["cloud"])
    # The expanded square distance picks another neighbour now and then: count groups, not entries.
    differs = (usual_tokens - tokens).abs().amax(-1) > 1e-2
    row = {
        "projection": width,
        "batch": options.batch,
        "equality": found | {"share_of_tokens_that_differ": float(differs.float().mean())},
        "cost": {
            "usual": cost(model, usual_step, batch, tokens),
            "ours": cost(model, our_step, batch, tokens),
        },
    }
    ways = {
        "usual_encoding": (usual_step, batch),
        "ours_encoding": (our_step, batch),
        "usual_cached": (usual_step, batch, tokens),
        "ours_cached": (our_step, batch, tokens),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in tqdm(range(options.rounds), desc=f"projection {width}"):
        for name, way in ways.items():
            seconds[name].append(timed(model, *way)[0])
    row["seconds"] = {name: statistics.median(values) for name, values in seconds.items()}
    usual = row["seconds"]["usual_encoding"]
    row["frozen_speedup"] = usual / row["seconds"]["ours_encoding"]
    row["cached_speedup"] = usual / row["seconds"]["ours_cached"]
    row["qformer_speedup"] = row["seconds"]["usual_cached"] / row["seconds"]["ours_cached"]
    row["matmul_rate_share"] = {
        way: row["cost"][way]["gflop"]
        / row["seconds"][f"{way}_cached"]
        / matmul_gflops(options.device)
        for way in ("usual", "ours")
    }
    kept = {way: row["cost"][way]["saved_megabytes"] for way in ("usual", "ours")}
    row["saved_memory_ratio"] = kept["ours"] / kept["usual"]
    return row


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both layouts and write the result."""
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--layers", type=int, default=12, help="layers of the Q-Former")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    small = {"layers": 2, "batch": 4, "rounds": 1}
    options = parse_options(parser, "stage1_step", arguments, **small)
    what = "forward and backward, float32, no optimizer step; median of the rounds; "
    record = Record("stage1_step", options, what=what + "on CPU seconds of the processor")
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as train.py does; page faults are neither way's work
    with tempfile.TemporaryDirectory() as folder:
        bert = random_bert(Path(folder), options.layers)
        plain, projected = (record.add(measure(options, width, bert)) for width in (None, 1408))
    names = ("frozen_speedup", "cached_speedup", "qformer_speedup", "saved_memory_ratio")
    figures = {name: plain[name] for name in names}
    figures |= {f"projected_{name}": projected[name] for name in names}
    equality = {
        name: max(row["equality"][name] for row in record.rows) for name in plain["equality"]
    }
    record.finish(figures, equality)


if __name__ == "__main__":
    main()
