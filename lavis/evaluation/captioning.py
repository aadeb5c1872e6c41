"""Caption metrics: BLEU-1..4, ROUGE-L, CIDEr-D, diversity and length, with per-item values.

    scores = caption_scores({"3001": "a red brick"}, {"3001": ["brick 2 x 4", "a brick"]})
    scores.values["cider"]; scores.per_item["cider"]; scores.metrics()

Definitions are in ngrams.py and rouge.py; coco_scorer.py runs pycocoevalcap instead. METEOR and
SPICE need Java (java_metrics.py): they are computed when asked for and possible, and None with the
reason otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lavis.common.errors import DependencyError, EvaluationError, require_choice
from lavis.evaluation import java_metrics as java_metrics_module
from lavis.evaluation import ngrams
from lavis.evaluation.coco_scorer import pycocoevalcap_scores
from lavis.evaluation.intervals import N_RESAMPLES, bootstrap_ci, mean_ci
from lavis.evaluation.records import check_same_ids, first_few
from lavis.evaluation.rouge import rouge_l_per_item
from lavis.evaluation.tokenization import TOKENIZER_NAME, tokenize_caption

BLEU_NAMES = ("bleu_1", "bleu_2", "bleu_3", "bleu_4")
JAVA_METRICS = ("meteor", "spice")
NO_IDF = "every n-gram of the references occurs for every item, so that its idf is 0"
NO_NGRAM = "the captions hold no n-gram of order {}"
NOT_ASKED = "needs Java, and was not asked for (run.java_metrics, or java_metrics=True)"
FAST, LIBRARY = SCORERS = ("fast", "pycocoevalcap")
TOKENIZERS = (TOKENIZER_NAME, java_metrics_module.PTB_NAME)


@dataclass(frozen=True)
class CaptionScores:
    """Caption metrics of one prediction file.

    Attributes:
        ids: the N scored ids; arrays in `per_item` follow this order.
        values: corpus scores: bleu_1..4, rouge_l (0..1), cider (0..10), distinct_captions and
            vocabulary (counts), distinct_1, distinct_2 (0..1), mean_length (words), meteor and
            spice (0..1). None where a metric is undefined or was not computed.
        per_item: [N] float64 for bleu_1..4 (sentence level), rouge_l, cider, length, and meteor
            and spice when computed; a metric without a value has none.
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
        means = {"mean_length": self.per_item["length"]}
        # METEOR's corpus score is no mean over items, so it has no interval here.
        found = [name for name in ("rouge_l", "cider", "spice") if name in self.per_item]
        means |= {name: self.per_item[name] for name in found}
        for name, items in means.items():
            ci95[name] = list(mean_ci(items, n_resamples=n_resamples, seed=seed))
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
    java_metrics: bool = False,
    scorer: str = FAST,
) -> CaptionScores:
    """Score one caption per item against one or more references.

    Args:
        predictions: {id: caption}; an empty caption scores 0 and is counted in `n_empty`.
        references: {id: captions}, the same ids.
        tokenize: pass `str.split` for text that is tokenised already, with its name.
        tokenizer_name: recorded with the scores. The name of the Stanford tokenizer
            (`java_metrics.PTB_NAME`) runs that one instead of `tokenize`.
        java_metrics: also METEOR and SPICE, where Java and their files are there.
        scorer: "fast" or "pycocoevalcap", which computes BLEU, ROUGE-L and CIDEr-D by the library;
            equal to 1e-6. Intervals of BLEU always come from the fast statistics.

    Raises:
        EvaluationError: ids differ, a caption is not a string, a reference is missing or empty.
        DependencyError: the Stanford tokenizer or pycocoevalcap is asked for and cannot run.
    """
    require_choice("caption scorer", scorer, SCORERS, "run.caption_scorer")
    check_same_ids(references, predictions, what="captions")
    ids = list(references)
    _check_texts(ids, predictions, references)
    if tokenizer_name == java_metrics_module.PTB_NAME:
        predictions, references = _stanford_words(ids, predictions, references)
        tokenize = str.split
    corpus = ngrams.build_corpus(
        (tokenize(predictions[i]) for i in ids),
        ((tokenize(text) for text in references[i]) for i in ids),
    )
    _check_references(ids, corpus)
    rows = ngrams.bleu_statistics(corpus)
    per_item = {
        **dict(zip(BLEU_NAMES, ngrams.bleu_from_statistics(rows).T, strict=True)),
        "rouge_l": rouge_l_per_item(corpus),
        "cider": ngrams.cider_per_item(corpus),
        "length": rows[:, -2],
    }
    corpus_bleu = ngrams.bleu_from_statistics(rows.sum(axis=0))
    values: dict[str, float | None] = dict(zip(BLEU_NAMES, corpus_bleu.tolist(), strict=True))
    values |= {name: float(per_item[name].mean()) for name in ("rouge_l", "cider")}
    values |= dict.fromkeys(JAVA_METRICS)
    unavailable = dict.fromkeys(JAVA_METRICS, NOT_ASKED)
    if java_metrics or scorer == LIBRARY:
        words = [tokenize(predictions[i]) for i in ids]
        groups = [[tokenize(text) for text in references[i]] for i in ids]
    if scorer == LIBRARY:
        found, found_items = pycocoevalcap_scores(words, groups)
        values |= found
        per_item |= found_items
    if java_metrics:
        unavailable = _add_java_metrics(words, groups, values, per_item)
    if not ngrams.has_idf(corpus):
        values["cider"] = None
        del per_item["cider"]
        unavailable |= {"cider": NO_IDF}
    diversity = ngrams.diversity(corpus)
    undefined = [order for order in (1, 2) if diversity[f"distinct_{order}"] is None]
    unavailable |= {f"distinct_{order}": NO_NGRAM.format(order) for order in undefined}
    values |= diversity
    n_empty = int((corpus.length[: len(ids)] == 0).sum())
    return CaptionScores(ids, values, per_item, n_empty, tokenizer_name, unavailable, rows)


def _add_java_metrics(
    hypotheses: list[list[str]],
    references: list[list[list[str]]],
    values: dict[str, float | None],
    per_item: dict[str, np.ndarray],
) -> dict[str, str]:
    """Fill in METEOR and SPICE; returns why one of them is missing."""
    reasons = {}
    for name, score in (
        ("meteor", java_metrics_module.meteor),
        ("spice", java_metrics_module.spice),
    ):
        try:
            values[name], per_item[name] = score(hypotheses, references)
        except DependencyError as error:
            reasons[name] = " ".join(str(error).split())
    return reasons


def _stanford_words(
    ids: Sequence[Any], predictions: Mapping[Any, str], references: Mapping[Any, Sequence[str]]
) -> tuple[dict[Any, str], dict[Any, list[str]]]:
    """Tokenise everything in one run of Java, words parted by spaces."""
    texts = [predictions[i] for i in ids] + [text for i in ids for text in references[i]]
    words = iter([" ".join(row) for row in java_metrics_module.ptb_tokenize(texts)])
    return {i: next(words) for i in ids}, {i: [next(words) for _ in references[i]] for i in ids}


def _check_texts(
    ids: Sequence[Any], predictions: Mapping[Any, str], references: Mapping[Any, Sequence[str]]
) -> None:
    single = [i for i in ids if isinstance(references[i], str)]
    if single:
        raise EvaluationError(
            "references must be a list of strings per id",
            where=f"ids {first_few(single)}",
            got="one string",
            expected='["caption", ...]',
        )
    odd = [i for i in ids if not all(isinstance(t, str) for t in (predictions[i], *references[i]))]
    if odd:
        got = type(predictions[odd[0]]).__name__
        raise EvaluationError("a caption is not text", where=f"ids {first_few(odd)}", got=got)


def _check_references(ids: Sequence[Any], corpus: ngrams.Corpus) -> None:
    """Every item has a reference, and every reference a word."""
    item, length = corpus.item[len(ids) :], corpus.length[len(ids) :]
    bad = np.bincount(item, minlength=len(ids)) == 0
    bad[item[length == 0]] = True
    if bad.any():
        raise EvaluationError(
            f"{bad.sum()} items have no reference or one without a word",
            where=f"ids {first_few(ids[k] for k in np.flatnonzero(bad).tolist())}",
            fix="remove these items from the reference file or give them a caption",
        )
