"""Caption metrics: BLEU-1..4, ROUGE-L, CIDEr-D, diversity and length, with per-item values.

    scores = caption_scores({"3001": "a red brick"}, {"3001": ["brick 2 x 4", "a brick"]})
    scores.values["cider"]; scores.per_item["cider"]; scores.metrics()

Definitions are in ngrams.py. METEOR and SPICE need Java: they are reported as None with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lavis.common.errors import EvaluationError, explain
from lavis.evaluation import ngrams
from lavis.evaluation.intervals import N_RESAMPLES, bootstrap_ci, mean_ci
from lavis.evaluation.records import check_same_ids, first_few
from lavis.evaluation.tokenization import TOKENIZER_NAME, tokenize_caption

BLEU_NAMES = ("bleu_1", "bleu_2", "bleu_3", "bleu_4")
UNAVAILABLE = {
    "meteor": "needs Java (pycocoevalcap's meteor-1.5.jar), which is not a dependency",
    "spice": "needs Java (pycocoevalcap's SPICE and Stanford CoreNLP), which is not a dependency",
}


@dataclass(frozen=True)
class CaptionScores:
    """Caption metrics of one prediction file.

    Attributes:
        ids: the N scored ids; arrays in `per_item` follow this order.
        values: corpus scores: bleu_1..4, rouge_l (0..1), cider (0..10), distinct_captions (count),
            distinct_1, distinct_2 (0..1), mean_length (words), meteor and spice (None).
        per_item: [N] float64 for bleu_1..4 (sentence level), rouge_l, cider, length.
        n_empty: predictions without a word; each scores 0.
        tokenizer: name of the tokenizer; scores of different tokenizers do not compare.
        unavailable: reason for every None in `values`.
    """

    ids: list[Hashable]
    values: dict[str, float | None]
    per_item: dict[str, np.ndarray]
    n_empty: int
    tokenizer: str
    unavailable: dict[str, str]
    bleu_statistics: np.ndarray = field(repr=False)

    @property
    def n_scored(self) -> int:
        return len(self.ids)

    def metrics(self, *, n_resamples: int = N_RESAMPLES, seed: int = 0) -> dict[str, Any]:
        """Scores in the shape of a metrics record: {name: {"value", "ci95"}}.

        CIDEr intervals keep the idf of the whole corpus; corpus BLEU is recomputed per resample.
        """
        ci95: dict[str, list[float]] = {}
        for name in ("rouge_l", "cider"):
            ci95[name] = list(mean_ci(self.per_item[name], n_resamples=n_resamples, seed=seed))
        ci95["mean_length"] = list(
            mean_ci(self.per_item["length"], n_resamples=n_resamples, seed=seed)
        )
        bounds = bootstrap_ci(
            self.bleu_statistics,
            lambda draws: ngrams.bleu_from_statistics(draws.sum(axis=1)),
            n_resamples=n_resamples,
            seed=seed,
        )  # [2,4]
        ci95 |= {name: bounds[:, k].tolist() for k, name in enumerate(BLEU_NAMES)}
        return {
            name: {"value": value, "ci95": ci95.get(name)} for name, value in self.values.items()
        }


def caption_scores(
    predictions: Mapping[Any, str],
    references: Mapping[Any, Sequence[str]],
    *,
    tokenize: Callable[[str], list[str]] = tokenize_caption,
    tokenizer_name: str = TOKENIZER_NAME,
) -> CaptionScores:
    """Score one caption per item against one or more references.

    Args:
        predictions: {id: caption}; an empty caption scores 0 and is counted in `n_empty`.
        references: {id: captions}, the same ids.
        tokenize: pass `str.split` for text that is tokenised already, with its name.
        tokenizer_name: recorded with the scores.

    Raises:
        EvaluationError: ids differ, a caption is not a string, a reference is missing or empty.
    """
    check_same_ids(references, predictions, what="captions")
    ids = list(references)
    hypotheses = [_tokenize(i, predictions[i], tokenize) for i in ids]
    tokenized = _tokenize_references(ids, references, tokenize)
    corpus = ngrams.build_corpus(hypotheses, tokenized)
    rows = ngrams.bleu_statistics(corpus)
    pairs = zip(hypotheses, tokenized, strict=True)
    per_item = {
        **dict(zip(BLEU_NAMES, ngrams.bleu_from_statistics(rows).T, strict=True)),
        "rouge_l": np.array([ngrams.rouge_l(words, group) for words, group in pairs]),
        "cider": ngrams.cider_per_item(corpus),
        "length": rows[:, -2],
    }
    corpus_bleu = ngrams.bleu_from_statistics(rows.sum(axis=0))
    values: dict[str, float | None] = dict(zip(BLEU_NAMES, corpus_bleu.tolist(), strict=True))
    values |= {name: float(per_item[name].mean()) for name in ("rouge_l", "cider")}
    values |= dict.fromkeys(UNAVAILABLE)
    values |= diversity(hypotheses)
    n_empty = sum(not words for words in hypotheses)
    return CaptionScores(ids, values, per_item, n_empty, tokenizer_name, dict(UNAVAILABLE), rows)


def diversity(hypotheses: Sequence[Sequence[str]]) -> dict[str, float]:
    """Distinct captions, distinct-1/2 (unique over all n-grams) and the mean length in words.

    References: Li et al. 2016 (arXiv 1510.03055) for distinct-n.
    """
    result: dict[str, float] = {"distinct_captions": len({tuple(words) for words in hypotheses})}
    for order in (1, 2):
        grams = [
            tuple(words[k : k + order])
            for words in hypotheses
            for k in range(len(words) - order + 1)
        ]
        result[f"distinct_{order}"] = len(set(grams)) / len(grams) if grams else 0.0
    result["mean_length"] = sum(map(len, hypotheses)) / len(hypotheses)
    return result


def _tokenize(item_id: object, text: object, tokenize: Callable[[str], list[str]]) -> list[str]:
    if not isinstance(text, str):
        raise EvaluationError(
            explain("a caption is not text", where=f"id {item_id!r}", got=type(text).__name__)
        )
    return tokenize(text)


def _tokenize_references(
    ids: Sequence[Any],
    references: Mapping[Any, Sequence[str]],
    tokenize: Callable[[str], list[str]],
) -> list[list[list[str]]]:
    single = [i for i in ids if isinstance(references[i], str)]
    if single:
        raise EvaluationError(
            explain(
                "references must be a list of strings per id",
                where=f"ids {first_few(single)}",
                got="one string",
                expected='["caption", ...]',
            )
        )
    tokenized = [[_tokenize(i, text, tokenize) for text in references[i]] for i in ids]
    empty = [i for i, group in zip(ids, tokenized, strict=True) if not group or not all(group)]
    if empty:
        raise EvaluationError(
            explain(
                f"{len(empty)} items have no reference or one without a word",
                where=f"ids {first_few(empty)}",
                fix="remove these items from the reference file or give them a caption",
            )
        )
    return tokenized
