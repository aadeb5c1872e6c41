"""Tables of README.md and docs/results.md: every printed number beside one that is worked out here.

Cells are read as numbers, and each must be the recomputed number to its own last digit. Words that
are checked: the strongest baseline and the verdict. Holm's correction, the strongest baseline, the
verdict and the spread over seeds are computed from the published records.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recompute.ledger import Row
from benchmarks.recompute.published import Published
from benchmarks.recompute.resampling import holm, verdict
from benchmarks.recompute.runs import Record

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
# Metrics that are shown as they are; all others are fractions or CIDEr, shown times 100.
PLAIN = ("median_rank", "mean_rank", "mean_length", "distinct_", "vocabulary", "length")
PLAIN_STUDY = ("distance", "variance", "norm", "margin", "cosine")
CONDITION = re.compile(r"(?:control|corruption): (.*)")
LAST = "Against the strongest baseline"
COUNTS = "Of "
# The README's table: rows by the first word of a record's name, columns by task and metric.
SYSTEM_ROWS = {
    "PointBLIP, `make demo`": "demo",
    "PointBLIP, `make full`": "full",
    "Point-BERT encoder alone, `make full`": "encoder",
}
SYSTEM_COLUMNS = {
    "Captioning, CIDEr": ("captioning", "cider"),
    "Answers without colour, exact match": ("question answering", "exact_match/without_color"),
    "Prompted classification, top-1": ("prompted classification", "top_1"),
    "Held-out classes, top-1": ("zero-shot (held-out classes)", "top_1"),
    "Object to text, R@1": ("retrieval", "object_to_text/recall_at_1"),
    "Text to object, R@1": ("retrieval", "text_to_object/recall_at_1"),
}
SLACK = 1e-7  # beside half of the last printed digit
Cells = Mapping[str, str]
Judged = Mapping[tuple[int, str], tuple[str, float | None]]


@dataclass(frozen=True)
class Expected:
    """What a table has to print about one metric of one record."""

    entry: Published
    metric: str

    @property
    def record(self) -> Record:
        """The published record."""
        return self.entry.record

    @property
    def scale(self) -> float:
        """Factor between stored and printed values."""
        last = self.metric.rpartition("/")[2]
        return 1.0 if last.startswith(PLAIN) or any(w in last for w in PLAIN_STUDY) else 100.0

    def printed(self, values: Sequence[float | None]) -> list[float]:
        """Return values on the printed scale."""
        return [self.scale * value for value in values if value is not None]

    @property
    def score(self) -> list[float]:
        """Score and interval."""
        entry = self.record["metrics"][self.metric]
        return self.printed([entry["value"], *(entry["ci95"] or [])])

    @property
    def seeds(self) -> list[float]:
        """Mean, sample standard deviation and number of seeds; empty below two."""
        found = [seed["metrics"].get(self.metric, {}).get("value") for seed in self.entry.seeds]
        values = np.array([value for value in found if value is not None], dtype=np.float64)
        if len(values) < 2:
            return []
        spread = self.printed([float(values.mean()), float(values.std(ddof=1))])
        return [*spread, float(len(values))]

    def baseline(self, name: str) -> list[float]:
        """Score of a baseline, and the pool's sizes where it used a part of it."""
        value = self.record["baselines"].get(name, {}).get(self.metric)
        pool = self.record["baseline_pool"]
        whole = value is None or name.startswith("chance") or not pool
        part = [] if whole or pool["used"] == pool["whole"] else [pool["used"], pool["whole"]]
        return [*self.printed([value]), *map(float, part)]

    @property
    def strongest(self) -> str | None:
        """The baseline with the largest score; of equals the first name."""
        rows = self.record["baselines"].items()
        known = [
            (-row[self.metric], name) for name, row in rows if row.get(self.metric) is not None
        ]
        return min(known)[1] if known else None

    @property
    def paired(self) -> Mapping[str, Any] | None:
        """The published paired difference to the strongest baseline."""
        return self.record["comparisons"].get(self.metric, {}).get(self.strongest)

    @property
    def n(self) -> list[float]:
        """Items behind the metric; scored and expected ones where they differ."""
        family = (self.record["extra"].get("per_family") or {}).get(self.metric.partition("/")[2])
        own = self.record["claims"].get(self.metric) or (family and family["n"])
        scored, expected = self.record["n_scored"], self.record["n_expected"]
        return [float(own)] if own else [*map(float, dict.fromkeys([scored, expected]))]

    @property
    def difference(self) -> list[float]:
        """Difference and interval, and its n where that is not the claim's."""
        if self.paired is None:
            return []
        n = self.paired["n"]
        own = [float(n)] if n != self.record["claims"][self.metric] else []
        return [*self.printed([self.paired["difference"], *self.paired["ci95"]]), *own]


def claims_of(published: Sequence[Published]) -> dict[tuple[int, str], tuple[str, float | None]]:
    """Return {(record, claim): (verdict, p after Holm)} over all claims of the tables."""
    plain = [entry for entry in published if entry.record["alteration"] is None]
    claims = [
        Expected(entry, metric)
        for entry in plain
        if not any(is_part_of(entry.record, other.record) for other in plain)
        for metric in entry.record["claims"]
    ]
    tested = [claim for claim in claims if claim.paired is not None]
    adjusted = holm([claim.paired["p_value"] for claim in tested if claim.paired])
    found: dict[tuple[int, str], tuple[str, float | None]] = {
        (id(claim.record), claim.metric): ("not tested", None) for claim in claims
    }
    for claim, p_value in zip(tested, adjusted):
        assert claim.paired is not None
        judged = verdict(claim.paired["ci95"], p_value)
        found[id(claim.record), claim.metric] = (judged, p_value)
    return found


def is_part_of(record: Record, other: Record) -> bool:
    """Return whether `other` scored the same evaluation of the same checkpoint on more items."""
    same = ("task", "split", "checkpoint_hash", "data")
    texts = ("text", "protocol", "text_field")
    return (
        record["checkpoint_hash"] is not None
        and all(record[key] == other[key] for key in same)
        and all(record["extra"].get(key) == other["extra"].get(key) for key in texts)
        and record["n_scored"] < other["n_scored"]
    )


@dataclass(frozen=True)
class Line:
    """A row of a printed table: the run and condition it is about, and {column: cell}."""

    section: str
    run: str
    condition: str
    cells: Cells


def between(text: str) -> str:
    """Return what is between the markers of the generated tables."""
    return text.partition(BEGIN)[2].partition(END)[0]


def table_lines(text: str) -> Iterator[Line]:
    """Yield each row of the generated tables; a control is about the run above it."""
    section, run = "", ""
    header: list[str] = []
    for line in between(text).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line[:1] == "|" else []
        section = line[3:].lower() if line.startswith("## ") else section
        if not cells or not header:
            header = cells
        elif not set(line) <= set("|-: ") and header[0] == "Run":
            named = dict(zip(header, cells))
            condition = CONDITION.match(named["Run"])
            run = run if condition else named["Run"].partition(" (")[0]
            yield Line(section, run, condition[1] if condition else "", named)


def words(name: str) -> str:
    """Return a name as tables print it."""
    return name.replace("_", " ")


def task_words(record: Record) -> str:
    """Return the task as tables print it; zero-shot only where no class was named in training."""
    if record["task"] == "point_classification":
        zero_shot = record["extra"].get("protocol") == "zero_shot"
        return "zero-shot (held-out classes)" if zero_shot else "prompted classification"
    known = {"point_qa": "question answering"}
    return known.get(record["task"], words(str(record["task"]).removeprefix("point_")))


def split_words(record: Record) -> str:
    """Return the split as tables print it, without the control."""
    return words(str(record["split"]).removesuffix(f"_{record['alteration']}"))


def row_of(line: Line, published: Sequence[Published]) -> Expected | None:
    """Return the record and metric that a printed row is about."""
    task = line.cells.get("Task", f"{line.section} ({line.cells.get('Split', '')})")
    for entry in published:
        record = entry.record
        condition = words(record["alteration"] or "")
        place = f"{task_words(record)} ({split_words(record)})"
        if (line.run, line.condition, task) == (entry.name, condition, place):
            known = [name for name in record["metrics"] if words(name) == line.cells["Metric"]]
            if known:
                return Expected(entry, known[0])
    return None


def fits(cell: str, expected: Sequence[float]) -> bool:
    """Return whether a cell prints exactly these numbers, each to its last digit."""
    printed = NUMBER.findall(cell)
    units = [10.0 ** -len(text.partition(".")[2]) for text in printed]
    return len(printed) == len(expected) and all(
        abs(float(text) - value) <= unit / 2 + SLACK
        for text, value, unit in zip(printed, expected, units)
    )


def line_rows(file: str, line: Line, expected: Expected, judged: Judged) -> Iterator[Row]:
    """Compare the cells of one printed row."""
    start = f"{line.run} {line.condition}".strip()
    label = f"{start}: {task_words(expected.record)}, {words(expected.metric)}"
    numbers = {"n": expected.n, "Score [95% CI]": expected.score}
    numbers |= {"Seeds: mean ± sd": expected.seeds, "Difference [95% CI]": expected.difference}
    for name in expected.record["baselines"]:
        numbers[words(name)] = expected.baseline(name)
    for column, values in numbers.items():
        if column in line.cells:
            yield cell_row(file, f"{label}, {column}", line.cells[column], "", values)
    found = judged.get((id(expected.record), expected.metric))
    name = words(expected.strongest or "")
    if "Strongest baseline" in line.cells:
        values = expected.baseline(expected.strongest) if expected.strongest else []
        text = f"{name}: " if name else "none"
        cell = line.cells["Strongest baseline"]
        yield cell_row(file, f"{label}, strongest baseline", cell, text, values)
    if "Verdict" in line.cells and found:
        yield cell_row(file, f"{label}, verdict", line.cells["Verdict"], found[0], [])
    if LAST in line.cells and found:
        relation = {"level": "level with", "not tested": "not tested against"}
        text = f"{relation.get(found[0], found[0])} {name}".strip() if name else found[0]
        yield cell_row(file, f"{label}, verdict", line.cells[LAST], text, expected.difference)


def cell_row(file: str, figure: str, cell: str, text: str, values: Sequence[float]) -> Row:
    """Compare one cell: its beginning with a text, the rest with numbers."""
    equal = cell.startswith(text) and fits(cell.removeprefix(text), values)
    shown = " ".join([text.strip(), *(f"{value:.6g}" for value in values)]).strip()
    return Row(file, figure, cell, shown or "–", "records", equal)


def count_row(
    file: str, text: str, published: Sequence[Published], judged: Judged
) -> Iterator[Row]:
    """Compare the sentence that counts verdicts, where a file has one."""
    said = next((line for line in between(text).splitlines() if line.startswith(COUNTS)), None)
    if said is not None:
        found = [outcome for outcome, _ in judged.values()]
        kinds = ["above", "level", "below", *(["not tested"] if "not tested" in found else [])]
        counts = [found.count(kind) for kind in kinds]
        equal = [*map(int, NUMBER.findall(said))] == [len(found), *counts]
        equal = equal and all(f"{kind} in {n}" in said for kind, n in zip(kinds, counts))
        yield Row(file, "count of verdicts", said, f"{len(found)} {counts}", "records", equal)


def system_rows(
    file: str, text: str, published: Sequence[Published], judged: Judged
) -> Iterator[Row]:
    """Compare the cells of the table of systems, where a file has one."""
    lines = [[c.strip() for c in line.strip("|").split("|")] for line in between(text).splitlines()]
    header = next((cells for cells in lines if cells[0] == "System"), [])
    for cells in lines[lines.index(header) + 2 :] if header else []:
        if len(cells) != len(header):
            return
        system = SYSTEM_ROWS.get(cells[0], cells[0])
        for column, cell in zip(header[1:], cells[1:]):
            task, metric = SYSTEM_COLUMNS[column]
            expected = claimed(system, task, metric, published, judged)
            if expected is None:
                yield cell_row(file, f"{cells[0]}, {column}", cell, "–", [])
                continue
            name = expected.strongest
            values = [*expected.score[:1], *(expected.baseline(name)[:1] if name else [])]
            yield cell_row(file, f"{cells[0]}, {column}", cell, "", values)
            outcome = judged[id(expected.record), metric][0]
            equal = cell.endswith(outcome) or name is None
            yield Row(file, f"{cells[0]}, {column}, verdict", cell, outcome, "records", equal)


def claimed(
    system: str, task: str, metric: str, published: Sequence[Published], judged: Judged
) -> Expected | None:
    """Return a system's claim of a metric; texts with colour are not the main ones."""
    for entry in published:
        own = entry.name.split("_")[0] == system and task_words(entry.record) == task
        colored = entry.record["extra"].get("text") == "with colour"
        if own and not colored and (id(entry.record), metric) in judged:
            return Expected(entry, metric)
    return None


def check_tables(files: Sequence[Path], published: Sequence[Published]) -> list[Row]:
    """Compare every number of the generated tables."""
    judged, rows = claims_of(published), []
    for path in files:
        text = path.read_text(encoding="utf-8")
        for line in table_lines(text):
            expected = row_of(line, published)
            if expected is None:
                figure = f"{line.run} {line.condition} {line.cells['Metric']}"
                rows.append(Row(path.name, figure, "row", "no record", "records", False))
            else:
                rows += line_rows(path.name, line, expected, judged)
        rows += count_row(path.name, text, published, judged)
        rows += system_rows(path.name, text, published, judged)
    return rows
