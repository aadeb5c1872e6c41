"""Tokens per second with gated prefixes, beside the bare model's `generate`.

Both sides write the same number of tokens after the same prompts with SmolLM2. The gates are zero
in a run that compares the texts, and open in the timed one. The bare model attends with sdpa.

    python -m benchmarks.prefix_generation            # batches of 1, 8 and 32, some minutes
    python -m benchmarks.prefix_generation --quick
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import torch
from tqdm import tqdm

from benchmarks.record import Record, parse_options
from lavis.common.precision import resolve_dtype
from lavis.models.language.gated_llm import GatedLanguageModel
from lavis.models.language.llm import LanguageModel

PROMPT = "### Instruction:\nDescribe the object.\n\n### Response:"


def write(model: LanguageModel, vectors: torch.Tensor, tokens: int) -> tuple[float, list[str]]:
    """Write about each of the vectors [B,P,D]; seconds (of the processor, on CPU) and texts."""
    clock = time.perf_counter if vectors.is_cuda else time.process_time
    start = clock()
    texts = model.generate(
        vectors, [PROMPT] * len(vectors), tokens, min_new_tokens=tokens, do_sample=False
    )
    return clock() - start, texts


def set_gates(model: GatedLanguageModel, value: float) -> None:
    """Open or close every gate."""
    with torch.no_grad():
        model.gates.fill_(value)


def measure(
    gated: GatedLanguageModel, bare: LanguageModel, options: argparse.Namespace, batch: int
) -> dict:
    """Measure one batch size."""
    generator = torch.Generator().manual_seed(batch)
    vectors = torch.randn(batch, 1, gated.hidden_size, generator=generator).to(options.device)
    set_gates(gated, 0.0)
    same = (
        write(gated, vectors, options.tokens)[1] == write(bare, vectors[:, :0], options.tokens)[1]
    )
    set_gates(gated, 0.1)
    seconds: dict[str, list[float]] = {"gated": [], "bare": []}
    for _ in tqdm(range(options.rounds), desc=f"batch {batch}"):
        seconds["gated"].append(write(gated, vectors, options.tokens)[0])
        seconds["bare"].append(write(bare, vectors[:, :0], options.tokens)[0])
    rate = {way: batch * options.tokens / statistics.median(s) for way, s in seconds.items()}
    return {
        "batch": batch,
        "gated_tokens_per_second": rate["gated"],
        "bare_tokens_per_second": rate["bare"],
        "ratio": statistics.median(b / g for g, b in zip(seconds["gated"], seconds["bare"])),
        "texts_equal_at_zero_gates": same,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every batch size and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llm", default="smollm2-135m")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", help="of the weights: float32, bfloat16")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--tokens", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    small = {"batches": [1, 8], "tokens": 10, "rounds": 2}
    options = parse_options(parser, "prefix_generation", arguments, **small)
    torch.set_num_threads(options.threads)
    dtype = resolve_dtype(options.dtype, "--dtype")
    gated = GatedLanguageModel(options.llm, dtype=dtype).eval().to(options.device)
    bare = LanguageModel(options.llm, dtype=dtype, attention="sdpa").eval().to(options.device)
    record = Record("prefix_generation", options, what="headline: the smallest ratio of a batch")
    for batch in options.batches:
        record.add(measure(gated, bare, options, batch))
    ratios = [row["ratio"] for row in record.rows]
    equal = all(row["texts_equal_at_zero_gates"] for row in record.rows)
    record.finish({"ratio": min(ratios)}, {"texts_equal_at_zero_gates": equal})


if __name__ == "__main__":
    main()
