"""Caption metrics: ours beside pycocoevalcap, on the same captions, interleaved in one process.

    python -m benchmarks.caption_metrics              # corpora of 1000 and 20,000 captions
    python -m benchmarks.caption_metrics --quick      # 500 and 2000 captions, under two minutes

Both sides start from strings that are tokenised already and end with corpus and per-item scores.
Equality of every score is checked in the same run. Times are CPU seconds of this single-threaded
process, which other work lengthens less than wall time, but not equally on both sides: it takes
caches and memory bandwidth. So a row states the smallest, the median and the largest ratio over the
rounds, and there is a row for each size of the corpus and each length of captions.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.record import Record, parse_options
from lavis.evaluation import ngrams
from lavis.evaluation.rouge import rouge_l_per_item

METRICS = ("cider", "rouge", "bleu")
Captions = dict[int, list[str]]


def made_up_captions(
    count: int, n_references: int, words: int, seed: int
) -> tuple[Captions, Captions]:
    """Return captions and their references over a skewed vocabulary of 3000 words.

    Lengths are `words` on average and differ by up to half of it. Every seventh caption copies its
    first reference.
    """
    generator = random.Random(seed)

    def sentence() -> str:
        length = generator.randint(words - words // 2, words + words // 2)
        return " ".join(f"w{int(3000 * generator.random() ** 3)}" for _ in range(length))

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


def compare(captions: Captions, references: Captions, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield a row per metric: seconds of both in every round, ratios, largest difference."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    sides = {
        "cider": (our_cider, usual(Cider())),
        "rouge": (our_rouge, usual(Rouge())),
        "bleu": (our_bleu, usual(Bleu(4))),
    }
    for name in METRICS:
        ours, theirs = sides[name]
        seconds: list[tuple[float, float]] = []
        difference = 0.0
        for _ in tqdm(range(rounds), desc=name):
            first, own = timed(ours, captions, references)
            second, other = timed(theirs, captions, references)
            seconds.append((first, second))
            difference = max(difference, float(np.abs(own - other).max()))
        ratios = [b / a for a, b in seconds]
        yield {
            "metric": name,
            "seconds_ours": [round(a, 4) for a, _ in seconds],
            "seconds_pycocoevalcap": [round(b, 4) for _, b in seconds],
            "speedup_min": round(min(ratios), 2),
            "speedup_median": round(float(np.median(ratios)), 2),
            "speedup_max": round(max(ratios), 2),
            "max_difference": difference,
        }


def headline(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the median ratios of the largest corpus of the shortest captions."""
    size = max(row["captions"] for row in rows)
    words = min(row["words"] for row in rows)
    return {
        f"{row['metric']}_speedup": row["speedup_median"]
        for row in rows
        if (row["captions"], row["words"]) == (size, words)
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, nargs="+", default=[1000, 20_000])
    parser.add_argument("--words", type=int, nargs="+", default=[11, 25], help="of a caption")
    parser.add_argument("--references", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    small = {"captions": [500, 2000], "rounds": 3}
    options = parse_options(parser, "caption_metrics", arguments, **small)
    record = Record("caption_metrics", options)
    for words, count in itertools.product(options.words, options.captions):
        data = made_up_captions(count, options.references, words, options.seed)
        for row in compare(*data, options.rounds):
            record.add({"captions": count, "words": words} | row)
    equality = {
        f"{name}_max_difference": max(
            row["max_difference"] for row in record.rows if row["metric"] == name
        )
        for name in METRICS
    }
    if max(equality.values()) > 1e-6:
        raise SystemExit(f"scores differ from pycocoevalcap: {equality}")
    record.finish(headline(record.rows), equality)


if __name__ == "__main__":
    main()
