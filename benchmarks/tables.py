"""The tables of docs/benchmarks.md, generated from benchmarks/results/*.json.

python -m benchmarks.tables            # rewrite them
python -m benchmarks.tables --check    # exit 1 when the page is out of date
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

from lavis.evaluation.tables import render_between

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"

# (result file, headline, what is measured, beside what)
_SPEED = (
    ("point_ops", "fps_8192_512_speedup", "sampling 512 of 8192 points, B=32", "torch loop"),
    ("point_ops", "fps_2048_128_speedup", "sampling 128 of 2048 points, B=32", "torch loop"),
    ("point_ops", "fps_knn_speedup", "sampling and grouping", "torch loop, square distance"),
    ("point_encoders", "ulip_512x32_speedup", "mini-PointNet of ULIP-2", "published layers"),
    ("stage1_step", "frozen_speedup", "stage-1 step, frozen encoder", "BLIP-2's layout"),
    ("stage1_step", "cached_speedup", "stage-1 step, cached features", "BLIP-2's layout"),
    ("stage1_step", "projected_frozen_speedup", "the same, projected to 1408", "BLIP-2's layout"),
    ("transformers_step", "query_pass_speedup", "query pass", "transformers' layers"),
    ("transformers_step", "matching_pass_speedup", "matching pass", "transformers' layers"),
    (
        *("transformers_step", "matching_pass_projected_speedup"),
        *("matching pass, projected to 1408", "transformers' layers"),
    ),
    (
        *("generation_bf16", "beam1_speedup"),
        *("captions, greedy (`--beams 1 --dtype bfloat16`)", "transformers generate"),
    ),
    ("generation", "beam5_speedup", "captions with 5 beams, SmolLM2", "transformers generate"),
    ("retrieval", "blocked_speedup_20k", "PTC scores, 20,000 texts", "LAVIS' loop"),
    ("retrieval", "int8_speedup_20k", "top 100 of 20,000 objects, int8 codes", "LAVIS' loop"),
    ("caption_metrics", "cider_speedup", "CIDEr, 20,000 captions of 11 words", "pycocoevalcap"),
    ("caption_metrics", "rouge_speedup", "ROUGE-L, 20,000 captions of 11 words", "pycocoevalcap"),
    ("caption_metrics", "bleu_speedup", "BLEU, 20,000 captions of 11 words", "pycocoevalcap"),
    ("data_loading", "packed_speedup", "reading a coloured cloud of 10,000 points", "np.load"),
    ("data_loading", "convert_speedup", "converting 1000 meshes, 2 processes", "trimesh loop"),
    ("contrastive_step", "speedup", "contrastive step, 10,000 points", "plain implementation"),
    ("scene", "unet_speedup", "sparse U-Net, 100,000 points", "plain torch"),
    ("busy_machine", "quiet_ratio", "steps on a quiet machine, our waiting threads", "torch's"),
    ("busy_machine", "busy_speedup", "the same beside two busy processes", "torch's"),
)
_FAULTS = (
    "stop at random steps, resume: every byte equal",
    "order of samples after resuming",
    "SIGKILL at random instants of a save",
    "truncated or flipped byte in the newest checkpoint",
    "full disk, I/O error at a save",
    "SIGTERM to one rank, all, the launcher",
    "kill -9 of one rank under --max-restarts",
    "resume with 4, 2, 1, 4 ranks",
    "NaN or infinity on one rank only",
    "1%, 10%, 100% corrupt clouds",
    "hostile files",
    "mutated configurations refused",
    "same seed, workers, hash seeds: same losses",
    "evaluation over sizes, batches, ranks",
    "long run: memory, file handles, retention, broken tracker",
    "job folder copied without times, clock set back, patterns in names",
    "damaged or hostile weight folders",
    "judge endpoint that redirects, quotes the key, answers nonsense",
    "every key of the schema changed at resume",
    "concurrent launches of one job, second, preparation",
    "prepared data and results changed at equal size",
    "full or unwritable disk at every file of a run",
    "hostile texts and numbers",
    "no HOME, ASCII terminal, read-only checkout, other folder",
    "SIGTERM, SIGINT, SIGHUP in every phase, lost terminal",
    "two launchers: one dies, one is suspended, both restart",
)


def read(name: str) -> dict[str, Any]:
    """Read one benchmark's JSON."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def speed_table() -> str:
    """One row per measured ratio."""
    lines = ["| What | Beside | Times as fast | Measured by |", "| --- | --- | ---: | --- |"]
    for file, key, what, beside in _SPEED:
        result = read(file)
        ratio = f"{result['headline'][key]:.3g}"
        lines.append(f"| {what} | {beside} | {ratio} | `python -m benchmarks.{result['name']}` |")
    return "\n".join(lines)


def caption_table() -> str:
    """One row per metric, corpus and length of captions: the ratio's spread over the rounds."""
    lines = ["| Metric | Captions | Words each | Rounds | Smallest | Median | Largest |"]
    lines.append("| --- |" + " ---: |" * 6)
    rows = read("caption_metrics")["rows"]
    for key, name in (("cider", "CIDEr"), ("rouge", "ROUGE-L"), ("bleu", "BLEU")):
        for row in (row for row in rows if row["metric"] == key):
            pairs = zip(row["seconds_pycocoevalcap"], row["seconds_ours"], strict=True)
            ratios = [usual / ours for usual, ours in pairs]
            case = f"{name} | {row['captions']:,} | {row['words']} | {len(ratios)}"
            spread = " | ".join(f"{f(ratios):.3g}" for f in (min, median, max))
            lines.append(f"| {case} | {spread} |")
    return "\n".join(lines)


def accumulation_table() -> str:
    """One row per case of contrast over micro-batches: its peak memory, or its gradients."""
    lines = ["| What | Batch | In parts of | Result |", "| --- | ---: | ---: | ---: |"]
    for row in read("grad_cache")["rows"]:
        sizes = f"{row['effective_batch']} | {row['micro_batch']}"
        if row["part"] == "memory":
            lines.append(f"| peak memory of a step | {sizes} | {row['peak_mib']:.0f} MiB |")
        else:
            what = f"gradients of `{row['arch']}`, {row['dtype']}"
            lines.append(f"| {what} | {sizes} | {row['relative_difference']:.0e} |")
    return "\n".join(lines)


def reliability_table() -> str:
    """One row per figure: whether it passed, how, in the full form or the tests' subset."""
    headline = read("reliability")["headline"]
    lines = ["| # | Fault | Result | Form |", "| ---: | --- | --- | --- |"]
    for number, fault in enumerate(_FAULTS, 1):
        entry = headline.get(f"fig{number:02d}")
        if entry is None:
            lines.append(f"| {number} | {fault} | not measured | – |")
            continue
        result = "passed" if entry["passed"] else "**failed**"
        lines.append(f"| {number} | {fault} | {result} | {'short' * entry['subset'] or 'full'} |")
    return "\n".join(lines)


_TABLES = {
    "speed": speed_table,
    "captions": caption_table,
    "accumulation": accumulation_table,
    "reliability": reliability_table,
}


def main(arguments: list[str] | None = None) -> int:
    """Command line: 0 when the page is up to date or was rewritten, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 when different")
    options = parser.parse_args(arguments)
    path = ROOT / "docs" / "benchmarks.md"
    text = path.read_text(encoding="utf-8")
    wanted = text
    for name, table in _TABLES.items():
        wanted = render_between(wanted, table(), name, str(path))
    if wanted == text:
        print(f"{path}: tables are up to date")
        return 0
    if options.check:
        print(f"{path}: out of date; run python -m benchmarks.tables")
        return 1
    path.write_text(wanted, encoding="utf-8")
    print(f"{path}: tables rewritten")
    return 0


if __name__ == "__main__":
    sys.exit(main())
