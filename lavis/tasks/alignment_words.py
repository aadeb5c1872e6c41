"""Sentences and tables of the alignment study, generated from its record and never typed by hand.

    python -m lavis.tasks.alignment_words            # rewrite docs/alignment_study.md, README.md
    python -m lavis.tasks.alignment_words --check    # exit 1 when one of them is out of date
    python -m lavis.tasks.alignment_words --publish output/point_llm_contrastive/study
                                                     # copy record and picture to docs/ first

The text is written between `<!-- study:begin -->` and `<!-- study:end -->`. The documentation gets
sentences and tables, the README (where it has the marks) the sentences.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lavis.common.command import report_errors
from lavis.common.files import replace_file
from lavis.evaluation.formatting import markdown_table
from lavis.evaluation.tables import render_between
from lavis.tasks.alignment_results import HEADLINE, PAIRS, REPORTED
from lavis.tasks.alignment_runs import CONDITIONS, INITIAL

ROOT = Path(__file__).resolve().parents[2]
PICTURE = "alignment_study.png"
NOT_RUN = "The study has not yet been run on bricks v2; `make study` runs it."
WORDS = {condition.name: condition.words for condition in CONDITIONS} | {
    INITIAL: "initial projector"
}
FIGURES = {
    "margin": "margin",
    "within_color/recall_at_1": "recall at 1 within the colour",
    "within_category/recall_at_1": "recall at 1 within the category",
    "object_to_text/recall_at_1": "recall at 1, object to text",
    "text_to_object/recall_at_1": "recall at 1, text to object",
    "centroid_distance": "centroid distance",
    "avg_cosine_similarity": "average cosine",
    "matched_cosine_similarity": "matched cosine",
}
TEXT_FIGURES = {"captions": "CIDEr", "answers": "exact match"}
Record = Mapping[str, Any]


def is_study(record: Record | None) -> bool:
    """Whether a record is of this study; earlier ones compared two losses with one rate."""
    return record is not None and "comparisons" in record.get("extra", {})


def verdict(record: Record | None) -> str:
    """What the study shows, in plain sentences; a difference counts only where it `holds`."""
    if not is_study(record):
        return NOT_RUN
    assert record is not None
    parts = [_scope(record)]
    parts += [_headline(record, figure) for figure in HEADLINE]
    parts += [_center_alone(record), *_texts(record)]
    return " ".join(part for part in parts if part)


def summary(record: Record | None) -> str:
    """The headline figures of both losses without the centre term, for the README."""
    if not is_study(record):
        return NOT_RUN
    assert record is not None
    return " ".join([_scope(record), *(_headline(record, f, PAIRS[:1]) for f in HEADLINE)])


def shown(figure: str, value: float) -> str:
    """A value as the tables print it: recalls and exact match in percent, CIDEr times 100."""
    percent = figure.endswith(("recall_at_1", "exact match"))
    scaled, digits = (100 * value, 1) if percent or figure == "CIDEr" else (value, 3)
    rounded = round(scaled, digits) + 0.0  # + 0.0: no minus before a zero
    return f"{rounded:.{digits}f}{'%' if percent else ''}"


def with_interval(figure: str, value: float, ci95: Sequence[float]) -> str:
    """`0.213 [0.201, 0.225]`."""
    low, high = (shown(figure, bound) for bound in ci95)
    return f"{shown(figure, value)} [{low}, {high}]"


def _scope(record: Record) -> str:
    protocol = record["extra"]["protocol"]
    seeds = len(protocol["seeds"])
    return (
        f"On the {record['n_scored']} objects of the {record['split']} split, after "
        f"{protocol['steps']} steps of {protocol['batch_size']} objects for every condition "
        f"({seeds} seed{'s' if seeds > 1 else ''}, learning rate chosen on the "
        f"{protocol['val_split']} split):"
    )


def _figure(record: Record, member: str, figure: str) -> str:
    """`the contrastive loss 0.213 [0.201, 0.225]`."""
    entry = record["extra"]["members"][member]["figures"][figure]
    return f"{with_interval(figure, entry['value'], entry['ci95'])} for the {WORDS[member]}"


def _comparison(record: Record, first: str, second: str, figure: str) -> Record:
    """The entry of a declared pair."""
    return next(
        entry
        for entry in record["extra"]["comparisons"]
        if (entry["first"], entry["second"], entry["figure"]) == (first, second, figure)
    )


def _headline(
    record: Record, figure: str, pairs: Sequence[tuple[str, str]] = tuple(PAIRS[:2])
) -> str:
    """Which loss has the larger figure, by default without and with the centre term."""
    chance = record["extra"]["chance"].get(figure)
    beside = "" if chance is None else f" (chance {shown(figure, chance)})"
    claims = [_claim(record, first, second, figure) for first, second in pairs]
    return f"{FIGURES[figure].capitalize()}{beside}: {'; '.join(claims)}."


def _claim(record: Record, first: str, second: str, figure: str) -> str:
    """Name the larger of two, or state that the difference is not established."""
    entry = _comparison(record, first, second, figure)
    values = f"{_figure(record, first, figure)}, {_figure(record, second, figure)}"
    gap = with_interval(figure, entry["difference"], entry["ci95"])
    if not entry["holds"]:
        return f"{values}; no difference is established ({gap})"
    larger = first if entry["difference"] > 0 else second
    return f"{values}; the {WORDS[larger]} has the larger one (difference {gap})"


def _center_alone(record: Record) -> str:
    """Which set-level figures the control improves, and its headline figures."""
    improved = []
    for figure, sign in (("centroid_distance", -1), ("avg_cosine_similarity", 1)):
        entry = _comparison(record, "center", INITIAL, figure)
        if entry["holds"] and sign * entry["difference"] > 0:
            ends = [
                shown(figure, record["extra"]["members"][name]["figures"][figure]["value"])
                for name in (INITIAL, "center")
            ]
            improved.append(f"{FIGURES[figure]} from {ends[0]} to {ends[1]}")
    result = f"improves {' and '.join(improved)}" if improved else "improves no set-level figure"
    own = " and ".join(
        f"{FIGURES[figure]} {_figure(record, 'center', figure).split(' for the ')[0]}"
        for figure in HEADLINE
    )
    reading = "; these set-level figures are no evidence of alignment" if improved else ""
    return f"The centre term alone, which uses no pairs, {result}, with {own}{reading}."


def _texts(record: Record) -> list[str]:
    """What captions and answers behind both projectors show; [] where they were not run."""
    texts = record["extra"].get("texts")
    if not texts:
        return []
    steps = record["extra"]["protocol"]["qa_steps"]
    conditions = {
        "captions": "Captions without further training",
        "answers": f"Answers after the same {steps} steps on questions",
    }
    return [_text_sentence(texts[kind], kind, words) for kind, words in conditions.items()]


def _text_sentence(entry: Record, kind: str, words: str) -> str:
    """Report both scores and their difference; its p-value is in no corrected family."""
    figure = TEXT_FIGURES[kind]
    scores = [
        f"{with_interval(figure, entry[loss]['value'], entry[loss]['ci95'])} for the {loss} "
        "projector"
        for loss in ("contrastive", "generative")
    ]
    gap = with_interval(figure, entry["difference"], entry["ci95"])
    return (
        f"{words} ({figure}, {entry['n']} items): {', '.join(scores)}; difference {gap}, which is "
        "not among the declared comparisons and supports no claim."
    )


def figures_table(record: Record) -> str:
    """Reported figures of all members, as Markdown."""
    members = record["extra"]["members"]
    head = ["Figure", *(WORDS[name] for name in members), "chance"]
    rows = []
    for figure in REPORTED:
        cells = [
            with_interval(figure, m["figures"][figure]["value"], m["figures"][figure]["ci95"])
            + f" ± {shown(figure, m['seed_sd'][figure])}"
            for m in members.values()
        ]
        chance = record["extra"]["chance"].get(figure)
        rows.append([FIGURES[figure], *cells, "–" if chance is None else shown(figure, chance)])
    return markdown_table(head, (), rows)


def rates_table(record: Record) -> str:
    """Margin on the validation split at every rate, and the chosen rate."""
    members = {n: m for n, m in record["extra"]["members"].items() if "val_curve" in m}
    rates = record["extra"]["protocol"]["rates"]
    rows = [
        [WORDS[name], *(f"{point['margin']:.4f}" for point in m["val_curve"]), f"{m['rate']:g}"]
        for name, m in members.items()
    ]
    return markdown_table(["Condition", *(f"{rate:g}" for rate in rates), "chosen"], (), rows)


def comparisons_table(record: Record) -> str:
    """All declared differences, as Markdown."""
    rows = [
        [
            f"{WORDS[e['first']]} - {WORDS[e['second']]}",
            FIGURES[e["figure"]],
            with_interval(e["figure"], e["difference"], e["ci95"]),
            f"{e['p_holm']:.4f}",
            "yes" if e["holds"] else "no",
        ]
        for e in record["extra"]["comparisons"]
    ]
    return markdown_table(["Difference", "Figure", "Value [95% CI]", "p (Holm)", "holds"], (), rows)


def documentation(record: Record | None) -> str:
    """The generated part of docs/alignment_study.md."""
    if not is_study(record):
        return NOT_RUN
    assert record is not None
    return "\n\n".join(
        [
            textwrap.fill(verdict(record), 120, break_long_words=False, break_on_hyphens=False),
            f"![t-SNE of the projections and the texts, first seed]({PICTURE})",
            "Mean over seeds [95% interval over objects] ± standard deviation over seeds:",
            figures_table(record),
            "Margin on the validation split, first seed, by learning rate:",
            rates_table(record),
            "Declared comparisons; a difference holds where its interval excludes zero, Holm's p "
            "is below 0.05 and the seeds agree in the sign:",
            comparisons_table(record),
        ]
    )


def update(path: Path, content: str, check: bool) -> bool:
    """Rewrite the marked part of a file; returns whether it was up to date."""
    text = path.read_text(encoding="utf-8")
    wanted = render_between(text, content, "study", str(path))
    if wanted != text and not check:
        path.write_text(wanted, encoding="utf-8")
    return wanted == text


def publish(study: Path, root: Path) -> None:
    """Copy the record and the picture of a study to docs/."""
    replace_file(
        root / "docs" / "results" / "alignment_study.json",
        (study / "alignment_study.json").read_bytes(),
    )
    replace_file(root / "docs" / PICTURE, (study / "tsne_comparison_all.png").read_bytes())


@report_errors(OSError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when all files are up to date or were rewritten, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m lavis.tasks.alignment_words")
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 when different")
    parser.add_argument("--root", type=Path, default=ROOT, help="of README.md and docs/")
    parser.add_argument("--publish", type=Path, metavar="FOLDER", help="of a finished study")
    options = parser.parse_args(arguments)
    result = options.root / "docs" / "results" / "alignment_study.json"
    readme = options.root / "README.md"
    if options.publish:
        publish(options.publish, options.root)
    record = json.loads(result.read_text(encoding="utf-8")) if result.is_file() else None
    contents = {options.root / "docs" / "alignment_study.md": documentation(record)}
    if readme.is_file() and "<!-- study:begin -->" in readme.read_text(encoding="utf-8"):
        contents[readme] = textwrap.fill(summary(record), 120, break_on_hyphens=False)
    current = [update(path, text, options.check) for path, text in contents.items()]
    return 1 if options.check and not all(current) else 0


if __name__ == "__main__":
    sys.exit(main())
