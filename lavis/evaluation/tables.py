"""Result tables in Markdown, generated from metrics records and never typed by hand.

    python -m lavis.evaluation.tables            # rewrite the table in README.md
    python -m lavis.evaluation.tables --check    # exit 1 when README.md is out of date

The table stands between `<!-- results:begin -->` and `<!-- results:end -->` and comes from
docs/results/*.json, each a metrics record (records.py) or a list of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lavis.common.errors import EvaluationError, explain
from lavis.evaluation.read_records import checked_record, read_json

ABSENT = "–"

# Shown times 100, as papers do; CIDEr too although its maximum is 1000 then.
_PERCENT = (
    *("recall", "top", "bleu", "rouge", "cider", "exact", "refined", "class", "mean_average"),
    *("meteor", "spice", "em_at", "choice", "generative_", "named", "similarity"),
    "nearest_text",
    *("caption_score", "open_accuracy", "close_accuracy", "readable"),
)
_COUNT = ("distinct_captions", "median_rank")
_NOTE = (
    "Accuracies, recalls, BLEU, ROUGE-L, mAP and CIDEr are shown times 100; other rows as they "
    f"are. {ABSENT} means that the baseline does not apply. Lower is better for ranks and "
    "distances."
)
# What the README shows of a task; the result files hold everything. Tasks not named show all.
_HEADLINES = {
    "point_retrieval": (
        *("object_to_text/recall_at_", "object_to_text/median_rank"),
        *("text_to_object/recall_at_", "text_to_object/median_rank"),
    ),
    "point_captioning": ("bleu_1", "bleu_4", "rouge_l", "cider", "distinct_captions"),
    "point_classification": ("top_", "class_mean_accuracy"),
    "point_qa": ("exact_match",),
}


def format_value(metric: str, value: float | None) -> str:
    """Show a score: fractions and CIDEr times 100, counts whole, the rest with two decimals."""
    if value is None:
        return ABSENT
    # "text_to_object/recall_at_5" is a recall; "exact_match/color" is an exact match.
    parts = metric.split("/")
    if any(part.startswith(_PERCENT) for part in parts):
        return f"{100 * value:.1f}"
    counted = any(part.startswith(_COUNT) for part in parts)
    return f"{value:.0f}" if counted else f"{value:.2f}"


def results_tables(records: Sequence[Mapping[str, Any]], *, headlines: bool = False) -> str:
    """One table a task, so that each has its own baselines, and a line that explains the scale.

    A row is (run, metric): the score with its 95% interval beside every baseline.

    Args:
        records: metrics records; `extra["name"]` names the run when present.
        headlines: only the metrics that papers quote.

    Returns:
        Markdown; metrics without a value are left out.
    """
    tables: list[str] = []
    tasks = dict.fromkeys(record["task"] for record in records)
    for task in sorted(tasks, key=lambda task: task not in _HEADLINES):  # studies come last
        own = [record for record in records if record["task"] == task]
        tables += [*_table_lines([_headlines(record) for record in own] if headlines else own), ""]
    return "\n".join([*tables, _NOTE])


def _headlines(record: Mapping[str, Any]) -> dict[str, Any]:
    names = _HEADLINES.get(record["task"])
    kept = {k: v for k, v in record["metrics"].items() if names is None or k.startswith(names)}
    return {**record, "metrics": kept or record["metrics"]}


def _table_lines(records: Sequence[Mapping[str, Any]]) -> list[str]:
    baselines = list(dict.fromkeys(name for record in records for name in record["baselines"]))
    header = ["Run", "Task", "Split", "n", "Metric", "Score [95% CI]"]
    header += [name.replace("_", " ") for name in baselines]
    rows = [
        _row(record, metric, entry, baselines)
        for record in records
        for metric, entry in record["metrics"].items()
        if entry["value"] is not None
    ]
    rule = ["---"] * 3 + ["---:", "---", "---:"] + ["---:"] * len(baselines)
    return ["| " + " | ".join(row) + " |" for row in [header, rule, *rows]]


def _row(
    record: Mapping[str, Any], metric: str, entry: Mapping[str, Any], baselines: Sequence[str]
) -> list[str]:
    score = format_value(metric, entry["value"])
    if entry.get("ci95") is not None:
        low, high = (format_value(metric, bound) for bound in entry["ci95"])
        score = f"**{score}** [{low}, {high}]"
    n = str(record["n_scored"])
    if record["n_scored"] != record["n_expected"]:
        n += f" of {record['n_expected']}"
    run = str(record.get("extra", {}).get("name", ABSENT))
    others = [format_value(metric, record["baselines"].get(b, {}).get(metric)) for b in baselines]
    return [run, record["task"], record["split"], n, metric.replace("_", " "), score, *others]


def load_records(results_dir: str | Path) -> list[dict[str, Any]]:
    """Read docs/results/*.json in the order of their names; the file name names the run.

    Raises:
        EvaluationError: a file is not JSON or not a metrics record of this schema version.
    """
    records = []
    for path in sorted(Path(results_dir).glob("*.json")):
        content = read_json(path)
        for record in content if isinstance(content, list) else [content]:
            checked_record(record, path)
            records.append({**record, "extra": {"name": path.stem, **record.get("extra", {})}})
    return records


def render_between(text: str, table: str, name: str, where: str) -> str:
    """Return `text` with everything between `<!-- name:begin -->` and `<!-- name:end -->` replaced.

    Raises:
        EvaluationError: the markers are absent, repeated or in the wrong order.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise EvaluationError(
            explain(
                "the README does not mark where a table stands",
                where=where,
                expected=f"one {begin} followed by one {end}",
            )
        )
    before, after = text.split(begin)[0], text.split(end)[1]
    return f"{before}{begin}\n{table}\n{end}{after}"


def update_readme(readme_path: str | Path, results_dir: str | Path, *, check: bool = False) -> bool:
    """Regenerate the results table of a README.

    Args:
        readme_path: file with the two markers.
        results_dir: folder of metrics records.
        check: only compare, write nothing.

    Returns:
        Whether the README was up to date already.
    """
    path = Path(readme_path)
    records = load_records(results_dir)
    table = results_tables(records, headlines=True) if records else "No published results yet."
    text = path.read_text(encoding="utf-8")
    wanted = render_between(text, table, "results", str(path))
    if wanted != text and not check:
        path.write_text(wanted, encoding="utf-8")
    return wanted == text


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when the README is up to date or was rewritten, 1 otherwise."""
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(prog="python -m lavis.evaluation.tables", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 when different")
    parser.add_argument("--readme", type=Path, default=root / "README.md")
    parser.add_argument("--results", type=Path, default=root / "docs" / "results")
    options = parser.parse_args(arguments)
    try:
        current = update_readme(options.readme, options.results, check=options.check)
    except (EvaluationError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    if current:
        print(f"{options.readme}: results table is up to date")
    elif options.check:
        print(f"{options.readme}: out of date; run python -m lavis.evaluation.tables")
        return 1
    else:
        print(f"{options.readme}: results table rewritten")
    return 0


if __name__ == "__main__":
    sys.exit(main())
