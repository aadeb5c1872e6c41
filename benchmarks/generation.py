"""Captions per second of the language model, beside transformers' `generate` as it is called.

Both sides write after the same soft prefix (32 queries) and prompt, with the same options; the
texts are compared in the same run. transformers' `generate` with its dynamic cache is the usual
way. Ours scores the first token without copying the vocabulary, and beams share their prefix.

    python -m benchmarks.generation                       # SmolLM2-135M, some minutes on one core
    python -m benchmarks.generation --quick               # short captions, small batches
    python -m benchmarks.generation --beams 1 --dtype bfloat16 \
        --out benchmarks/results/generation_bf16.json
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
from lavis.models.language.llm import LanguageModel

PROMPT = "a 3D point cloud of"


def write(
    model: LanguageModel, prefix: torch.Tensor, options: argparse.Namespace, beams: int, usual: bool
) -> tuple[float, list[str]]:
    """Caption a batch; seconds (of the processor, on CPU) and texts."""
    # What transformers sets itself; given as an option it sends the whole call to transformers.
    extra = {"logits_to_keep": 1} if usual else {}
    clock = time.perf_counter if prefix.is_cuda else time.process_time
    start = clock()
    texts = model.generate(
        prefix,
        [PROMPT] * len(prefix),
        max_new_tokens=options.new_tokens,
        min_new_tokens=min(8, options.new_tokens),
        num_beams=beams,
        do_sample=False,
        **extra,
    )
    return clock() - start, texts


def measure(model: LanguageModel, options: argparse.Namespace, batch: int, beams: int) -> dict:
    """Measure one batch size and number of beams."""
    generator = torch.Generator().manual_seed(batch)
    scale = model.embedding_scale()
    prefix = scale * torch.randn(batch, 32, model.hidden_size, generator=generator)
    prefix = prefix.to(options.device)
    seconds: dict[str, list[float]] = {"ours": [], "usual": []}
    texts = {}
    for _ in tqdm(range(options.rounds), desc=f"batch {batch}, beams {beams}"):
        for way in seconds:
            spent, texts[way] = write(model, prefix, options, beams, way == "usual")
            seconds[way].append(spent)
    ours, usual = (statistics.median(seconds[way]) for way in ("ours", "usual"))
    return {
        "batch": batch,
        "beams": beams,
        "ours_captions_per_second": batch / ours,
        "usual_captions_per_second": batch / usual,
        "speedup": usual / ours,
        "texts_that_differ": sum(a != b for a, b in zip(texts["ours"], texts["usual"])),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every batch size and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llm", default="smollm2-135m")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", help="of the weights: float32, bfloat16")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--new-tokens", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    small = {"batches": [1, 4], "new_tokens": 12, "rounds": 1}
    options = parse_options(parser, "generation", arguments, **small)
    torch.set_num_threads(options.threads)
    dtype = resolve_dtype(options.dtype, "--dtype")
    model = LanguageModel(options.llm, dtype=dtype).eval().to(options.device)
    _ = model.beams_share_prefix  # checked once per model, and no caption's time
    what = "dynamic cache; on CPU seconds of the processor; headline is the geometric mean over "
    record = Record("generation", options, what=what + "the batch sizes")
    for beams in options.beams:
        for batch in options.batches:
            record.add(measure(model, options, batch, beams))
    widest = max(options.beams)
    speedups = [row["speedup"] for row in record.rows if row["beams"] == widest]
    differing = sum(row["texts_that_differ"] for row in record.rows)
    headline = {f"beam{widest}_speedup": statistics.geometric_mean(speedups)}
    record.finish(headline, {"texts_that_differ": differing})


if __name__ == "__main__":
    main()
