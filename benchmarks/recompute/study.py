"""The alignment study: what its record and the runs' per-item values give without embeddings.

Means and spreads over seeds, differences between conditions, Holm's correction, "holds", the chosen
rates, captions and answers behind both projectors, and every cell of the generated tables. Figures
of single seeds and intervals over objects need the embeddings, which no file holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recompute.ledger import Figures, Missing, Row, compare, flatten, missing
from benchmarks.recompute.resampling import holm, paired_differences, verdict
from benchmarks.recompute.runs import Record, Run
from benchmarks.recompute.tables import fits

TASK = "alignment_study"
DOCUMENT = "alignment_study.md"  # beside the folder of records
BEGIN, END = "<!-- study:begin -->", "<!-- study:end -->"
LOSSES = ("contrastive", "generative")
FIGURES = {
    "margin": "margin",
    "recall at 1 within the colour": "within_color/recall_at_1",
    "recall at 1 within the category": "within_category/recall_at_1",
    "recall at 1, object to text": "object_to_text/recall_at_1",
    "recall at 1, text to object": "text_to_object/recall_at_1",
    "centroid distance": "centroid_distance",
    "average cosine": "avg_cosine_similarity",
    "matched cosine": "matched_cosine_similarity",
}


def over_seeds(record: Record) -> Figures:
    """Return mean and sample standard deviation over seeds of every figure of every member."""
    found: Figures = {}
    for name, member in record["extra"]["members"].items():
        for figure in member["figures"]:
            values = np.array([seed[figure] for seed in member["seeds"].values()])
            start = ("extra", "members", name)
            found[(*start, "figures", figure, "value")] = float(values.mean())
            spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
            found[(*start, "seed_sd", figure)] = spread
    return found


def headlines(record: Record) -> Figures:
    """Return the scores and chances of the record as its details have them."""
    members, chance = record["extra"]["members"], record["extra"]["chance"]
    found: Figures = {}
    for metric in record["metrics"]:
        name, _, figure = metric.partition("/")
        entry = members[name]["figures"][figure]
        found |= flatten({"metrics": {metric: entry}})
    for metric in record["baselines"]["chance"]:
        found["baselines", "chance", metric] = chance[metric.partition("/")[2]]
    return found


def differences(record: Record) -> Figures:
    """Return differences, their seeds, Holm's p within each family, and what holds."""
    members, entries = record["extra"]["members"], record["extra"]["comparisons"]
    found: Figures = {}
    for family in dict.fromkeys(entry["family"] for entry in entries):
        places = [k for k, entry in enumerate(entries) if entry["family"] == family]
        adjusted = holm([entries[k]["p"] for k in places])
        for k, p_value in zip(places, adjusted):
            entry, start = entries[k], ("extra", "comparisons", str(k))
            first, second = (members[entry[side]]["seeds"] for side in ("first", "second"))
            gaps = {s: first[s][entry["figure"]] - second[s][entry["figure"]] for s in first}
            same_sign = len({gap > 0 for gap in gaps.values()}) == 1
            found[(*start, "p_holm")] = p_value
            found[(*start, "difference")] = sum(gaps.values()) / len(gaps)
            found |= {(*start, "per_seed", seed): gap for seed, gap in gaps.items()}
            judged = verdict(entry["ci95"], p_value)
            found[(*start, "holds")] = judged != "level" and same_sign
    return found


def rates(record: Record) -> Figures:
    """Return the rate of the largest margin on the validation split, the lowest of equals."""
    found: Figures = {}
    for name, member in record["extra"]["members"].items():
        if "val_curve" in member:
            best = max(member["val_curve"], key=lambda point: (point["margin"], -point["rate"]))
            found["extra", "members", name, "rate"] = best["rate"]
    return found


def texts(record: Record, runs: Sequence[Run]) -> Figures:
    """Return scores and paired differences of captions and answers, from the runs' items."""
    found: Figures = {}
    for kind, entry in (record["extra"].get("texts") or {}).items():
        if not isinstance(entry, Mapping) or "metric" not in entry:
            continue
        metric, start = entry["metric"], ("extra", "texts", kind)
        chosen = {loss: run_with(runs, metric, entry[loss]) for loss in LOSSES}
        both = [run for run in chosen.values() if run is not None]
        if len(both) < len(LOSSES):
            continue
        for loss, run in zip(LOSSES, both):
            items = run.items[metric].values()
            found[(*start, loss, "value")] = sum(items) / len(items)
        pair = (both[0].items[metric], both[1].items[metric])
        tested = paired_differences({kind: pair})[kind]
        names = {"p": "p_value", "difference": "difference", "ci95": "ci95", "n": "n"}
        found |= flatten({key: tested[source] for key, source in names.items()}, start)
    return found


def run_with(runs: Sequence[Run], metric: str, entry: Record) -> Run | None:
    """Return the run of the study that scored exactly this."""
    own = [
        run for run in runs if run.record["metrics"].get(metric) == entry and metric in run.items
    ]
    return own[0] if own else None


def check_study(file: str, record: Record, runs: Sequence[Run]) -> tuple[list[Row], list[Missing]]:
    """Compare the claims of a study's record with its parts and its runs."""
    published = flatten(record)
    parts = {
        "seeds": {**over_seeds(record), **differences(record)},
        "members": {**headlines(record), **rates(record)},
        "items": texts(record, runs),
    }
    rows = [row for means, part in parts.items() for row in compare(file, published, part, means)]
    return rows, missing(file, published, parts.values(), reason)


def reason(path: tuple[str, ...]) -> str:
    """Say why a figure of the study is not recomputed."""
    if path[:2] == ("extra", "texts"):
        return "a setting, or its run is not among the given folders"
    if path[:2] in {("extra", "members"), ("extra", "comparisons"), ("extra", "chance")}:
        return "needs the embeddings of the study, which no file holds"
    return "a setting, an origin or a word, not a measurement"


def markdown_tables(text: str) -> list[list[list[str]]]:
    """Return the tables between the study's markers: rows of cells, the header first."""
    found: list[list[list[str]]] = [[]]
    for line in text.partition(BEGIN)[2].partition(END)[0].splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            found[-1] += [] if set(line) <= set("|-: ") else [cells]
        elif found[-1]:
            found.append([])
    return [table for table in found if table]


def percent(figure: str) -> float:
    """Return the factor between stored and printed values."""
    return 100.0 if figure.endswith("recall_at_1") else 1.0


def figure_cells(record: Record, row: Sequence[str]) -> list[list[float]]:
    """Return the numbers of a row of the first table: each member's figure, then chance."""
    figure, extra = FIGURES[row[0]], record["extra"]
    cells = []
    for member in extra["members"].values():
        entry = member["figures"][figure]
        cells.append([entry["value"], *entry["ci95"], member["seed_sd"][figure]])
    chance = extra["chance"].get(figure)
    cells.append([] if chance is None else [chance])
    return [[percent(figure) * value for value in cell] for cell in cells]


def rate_cells(record: Record, place: int) -> list[list[float]]:
    """Return the numbers of a row of the second table: margins at every rate, the chosen rate."""
    members = [m for m in record["extra"]["members"].values() if "val_curve" in m]
    margins = [[point["margin"]] for point in members[place]["val_curve"]]
    return [*margins, [members[place]["rate"]]]


def difference_cells(record: Record, place: int) -> list[list[float]]:
    """Return the numbers of a row of the third table: difference with interval, Holm's p."""
    entry = record["extra"]["comparisons"][place]
    values = [entry["difference"], *entry["ci95"]]
    return [[percent(entry["figure"]) * value for value in values], [entry["p_holm"]]]


def check_document(path: Path, record: Record) -> list[Row]:
    """Compare every number of the study's generated tables with the record."""
    tables = markdown_tables(path.read_text(encoding="utf-8"))
    readers: list[tuple[int, Callable[[int, list[str]], list[list[float]]]]] = [
        (1, lambda place, row: figure_cells(record, row)),
        (1, lambda place, row: rate_cells(record, place)),
        (2, lambda place, row: difference_cells(record, place)),
    ]
    rows: list[Row] = []
    for table, (first, expected) in zip(tables, readers):
        for place, row in enumerate(table[1:]):
            rows += document_rows(path.name, table[0], row, first, expected(place, row))
    return rows


def document_rows(
    file: str, header: Sequence[str], row: Sequence[str], first: int, cells: list[list[float]]
) -> Iterator[Row]:
    """Compare the cells of one row, from column `first` on."""
    for column, cell, values in zip(header[first:], row[first:], cells):
        shown = " ".join(f"{value:.6g}" for value in values)
        figure = f"{', '.join(row[:first])}, {column}"
        yield Row(file, figure, cell, shown or "–", "record", fits(cell.replace("%", ""), values))


def check_studies(
    records: Mapping[str, Any], runs: Sequence[Run], folder: Path
) -> tuple[list[Row], list[Missing]]:
    """Compare all study records, and the document beside their folder."""
    rows: list[Row] = []
    absent: list[Missing] = []
    for name, record in records.items():
        own_rows, own_absent = check_study(name, record, runs)
        rows, absent = [*rows, *own_rows], [*absent, *own_absent]
        document = folder.parent / DOCUMENT
        rows += check_document(document, record) if document.is_file() else []
    return rows, absent
