"""All recomputations of one run, and why the rest is not recomputed."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.recompute import (
    answer_rules,
    answers,
    caption_rules,
    captions,
    class_rules,
    classes,
    from_items,
    retrieval,
    retrieval_rules,
)
from benchmarks.recompute.ledger import Figures, Missing, Path, Row, compare, flatten, missing
from benchmarks.recompute.runs import Data, Run
from benchmarks.recompute.words import cleaned

PREDICTIONS = {
    "point_captioning": captions.from_predictions,
    "point_qa": answers.from_predictions,
    "point_classification": classes.from_predictions,
    "point_retrieval": retrieval.from_predictions,
}
RESULTS = ("metrics", "baselines", "claims", "comparisons", "items", "baseline_items")
MEASURED = ("per_family", "per_question_type", "per_class", "confusion", "n_empty", "gallery")
NO_MODEL = {
    "nearest_in_own_embedding": "needs the model's embeddings, which no file holds",
}


def caption_baselines(run: Run, data: Data) -> Figures:
    """Score the caption baselines on the run's objects."""
    right, field = captions.references(run, data), captions.text_field(run, data)
    given = caption_rules.captions(data, list(right), field, int(run.record["seed"]))
    figures: Figures = {}
    for name, texts in given.items():
        figures |= captions.baseline_figures(name, texts, right)
    return figures


def answer_baselines(run: Run, data: Data) -> Figures:
    """Score the answer baselines on the run's questions, worded as the model reads them."""
    asked = answers.asked(run, data)
    questions = {i: {**e, "question": cleaned(e["question"], "")} for i, e in asked.items()}
    figures: Figures = {}
    for name, given in answer_rules.answers(data, questions).items():
        figures |= answers.baseline_figures(name, given, questions)
    return figures | {
        ("extra", "most_frequent", kind): answer_rules.commonest(found)
        for kind, found in answer_rules.gathered(
            data.annotation("qa", "train"), lambda entry: str(entry["question_type"])
        ).items()
    }


def class_baselines(run: Run, data: Data) -> Figures:
    """Score the classification baselines on the run's objects."""
    right, names = classes.labels(run, data), data.class_names(run.split)
    figures = classes.chance(len(names))
    for name, ranked in class_rules.rankings(data, right, names).items():
        figures |= classes.baseline_figures(name, ranked, right)
    return figures


def retrieval_baselines(run: Run, data: Data) -> Figures:
    """Score the retrieval baselines on the run's gallery, and chance in each direction."""
    names = list(dict.fromkeys(name.partition("/")[0] for name in run.record["metrics"]))
    names = [name for name in names if name != "object_to_object"]
    texts, field = retrieval.texts_of(run, data), captions.text_field(run, data)
    figures = retrieval.chance_figures(run, data, names)
    return figures | retrieval_rules.baseline_figures(data, texts, field)


BASELINES: dict[str, Callable[[Run, Data], Figures]] = {
    "point_captioning": caption_baselines,
    "point_qa": answer_baselines,
    "point_classification": class_baselines,
    "point_retrieval": retrieval_baselines,
}


def data_figures(run: Run, data: Data) -> Figures:
    """Return the data version, the size of the training pool, and the number of items."""
    pool = len(data.of(run, "train"))
    parameters, counts = data.manifest.get("parameters", {}), data.manifest.get("counts", {})
    return {
        ("data", "version"): counts.get("version"),
        ("data", "split_file_sha256"): parameters.get("split_file_sha256"),
        ("baseline_pool", "used"): pool,
        ("baseline_pool", "whole"): pool,
        ("n_expected",): len(run.predictions) + len(run.record["skipped"]),
    }


def recomputed(run: Run, data: Data) -> dict[str, Figures]:
    """Return {means: figures} of a run."""
    if run.task not in PREDICTIONS or not run.predictions:
        return {"items": from_items.from_items(run)} if run.items else {}
    return {
        "predictions": PREDICTIONS[run.task](run, data),
        "items": from_items.from_items(run),
        "rules": BASELINES[run.task](run, data),
        "data": data_figures(run, data),
    }


def check_run(run: Run, data: Data) -> tuple[list[Row], list[Missing]]:
    """Compare everything that a run published."""
    published, found = flatten(run.published), recomputed(run, data)
    rows = [
        row for means, figs in found.items() for row in compare(run.name, published, figs, means)
    ]
    if run.task == "point_retrieval" and run.predictions:
        lists = retrieval.lists_agree(run, data)
        rows.append(_list_row(run.name, lists))
    return rows, missing(run.name, published, found.values(), reason)


def _list_row(file: str, lists: Figures) -> Row:
    wrong = [" ".join(path[1:]) for path, fits in lists.items() if not fits]
    counts = f"{len(lists)} lists", f"{len(lists) - len(wrong)} fit"
    detail = ", ".join(wrong[:3])
    return Row(file, "ranks and best ten", *counts, "predictions", not wrong, len(lists), detail)


def reason(path: Path) -> str:
    """Say why a published figure is not recomputed."""
    for name, why in NO_MODEL.items():
        if name in path:
            return why
    joined = " ".join(path)
    if "ptm_weight_" in joined:
        return "needs the model's scores of all pairs, which no file holds"
    if any(word in joined for word in ("_ptc/", "mean_average_precision", "_rank")):
        return "ranks or precisions of this direction are not in the prediction file"
    if path[0] in RESULTS or (path[0] == "extra" and path[1] in MEASURED):
        return "no rule"
    return "a setting, an origin or a word, not a measurement"
