"""Caption metrics: ours beside pycocoevalcap, on the same captions, interleaved in one process.

    python -m benchmarks.caption_metrics                      # 20,000 captions, 5 references each
    python -m benchmarks.caption_metrics --captions 500 --rounds 1 --out /tmp/x.json

Both sides start from strings that are tokenised already and end with corpus and per-item scores.
Equality of every score is checked in the same run. Times are CPU seconds of this single-threaded
process, so that other work on the machine does not decide.
"""

from __future__ import annotations

import argparse
import gc
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.machine import describe_machine, result_header
from lavis.evaluation import ngrams
from lavis.evaluation.provenance import write_json_atomic
from lavis.evaluation.rouge import rouge_l_per_item

OUT = Path(__file__).parent / "results" / "caption_metrics.json"
Captions = dict[int, list[str]]


def made_up_captions(count: int, n_references: int, seed: int) -> tuple[Captions, Captions]:
    """Captions of 6 to 16 words over a skewed vocabulary of 3000; every seventh copies one."""
    generator = random.Random(seed)

    def sentence() -> str:
        words = range(generator.randint(6, 16))
        return " ".join(f"w{int(3000 * generator.random() ** 3)}" for _ in words)

    references = {i: [sentence() for _ in range(n_references)] for i in range(count)}
    captions = {i: [references[i][0] if i % 7 == 0 else sentence()] for i in references}
    return captions, references


def our_corpus(captions: Captions, references: Captions) -> ngrams.Corpus:
    """Split and number every word, as `caption_scores` does."""
    return ngrams.build_corpus(
        (captions[i][0].split() for i in references),
        ((text.split() for text in references[i]) for i in references),
    )


def our_cider(captions: Captions, references: Captions) -> np.ndarray:
    return ngrams.cider_per_item(our_corpus(captions, references))


def our_rouge(captions: Captions, references: Captions) -> np.ndarray:
    return rouge_l_per_item(our_corpus(captions, references))


def our_bleu(captions: Captions, references: Captions) -> np.ndarray:
    rows = ngrams.bleu_statistics(our_corpus(captions, references))
    return ngrams.bleu_from_statistics(rows)


def usual(scorer: Any) -> Callable[[Captions, Captions], np.ndarray]:
    """Per-item scores of a pycocoevalcap scorer, [N] or, for BLEU, [N,4]."""

    def run(captions: Captions, references: Captions) -> np.ndarray:
        quiet = {"verbose": 0} if scorer.method() == "Bleu" else {}
        _, items = scorer.compute_score(references, captions, **quiet)
        return np.asarray(items).T

    return run


def timed(function: Callable[..., np.ndarray], *arguments: Any) -> tuple[float, np.ndarray]:
    """CPU seconds and result; garbage of the run before is not counted."""
    gc.collect()
    begin = time.process_time()
    result = function(*arguments)
    return time.process_time() - begin, result


def compare(
    names: Sequence[str], captions: Captions, references: Captions, rounds: int
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Rows of (metric, seconds of both, ratio) and the largest difference per metric."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    sides = {
        "cider": (our_cider, usual(Cider())),
        "rouge": (our_rouge, usual(Rouge())),
        "bleu": (our_bleu, usual(Bleu(4))),
    }
    rows, difference = [], {}
    for name in names:
        ours, theirs = sides[name]
        seconds: list[tuple[float, float]] = []
        for _ in tqdm(range(rounds), desc=name):
            first, own = timed(ours, captions, references)
            second, other = timed(theirs, captions, references)
            seconds.append((first, second))
            difference[name] = max(difference.get(name, 0.0), float(np.abs(own - other).max()))
        ratios = [b / a for a, b in seconds]
        rows.append(
            {
                "metric": name,
                "seconds_ours": [round(a, 4) for a, _ in seconds],
                "seconds_pycocoevalcap": [round(b, 4) for _, b in seconds],
                "speedup_median": round(float(np.median(ratios)), 2),
                "speedup_worst": round(min(ratios), 2),
            }
        )
    return rows, difference


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--captions", type=int, default=20_000)
    parser.add_argument("--references", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    data = made_up_captions(options.captions, options.references, options.seed)
    rows, difference = compare(["cider", "rouge", "bleu"], *data, options.rounds)
    if max(difference.values()) > 1e-6:
        raise SystemExit(f"scores differ from pycocoevalcap: {difference}")
    result = {
        **result_header("caption_metrics"),
        "machine": describe_machine(),
        "headline": {f"{row['metric']}_speedup": row["speedup_median"] for row in rows},
        "rows": [
            {"captions": options.captions, "references": options.references} | r for r in rows
        ],
        "equality": {f"{name}_max_difference": value for name, value in difference.items()},
    }
    write_json_atomic(options.out, result)
    for row in rows:
        print(f"{row['metric']}: {row['speedup_median']}x (worst {row['speedup_worst']}x)")
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
