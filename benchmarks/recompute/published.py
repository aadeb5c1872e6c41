"""Published records beside the runs they come from, and their seeds.

docs/results/<run>.json                 one metrics record or a list of them
docs/results/<run>_<control>.json       the run under a control
docs/results/seeds/<run>/<seed>.json    the run with other training seeds
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.recompute.ledger import Missing, Row, compare, dotted, flatten
from benchmarks.recompute.runs import Record, Run, read_json

# What makes two records one evaluation.
IDENTITY = ("task", "split", "alteration", "config_hash", "checkpoint_hash", "git_commit", "seed")
NO_RUN = "no run of this evaluation among the given folders"
NOT_IN_RUN = "not in the run's own record"


@dataclass(frozen=True)
class Published:
    """One record of a table.

    Attributes:
        name: the run's name; a control has that of its run.
        record: the metrics record.
        file: where it is.
        seeds: records of the same evaluation with other training seeds.
    """

    name: str
    record: Record
    file: str
    seeds: tuple[Record, ...] = ()


def records_of(path: Path) -> list[Record]:
    """Return the records of a file."""
    content = read_json(path)
    return content if isinstance(content, list) else [content]


def read_published(folder: Path) -> list[Published]:
    """Read the records of a results folder with their seeds, in the order of the file names."""
    seeds: dict[str, list[Record]] = {}
    for path in sorted(folder.glob("seeds/*/*.json")):
        seeds.setdefault(path.parent.name, []).extend(records_of(path))
    found = []
    for path in sorted(folder.glob("*.json")):
        for record in records_of(path):
            ending = f"_{record['alteration']}" if record["alteration"] else ""
            name = str(record["extra"].get("name", path.stem)).removesuffix(ending)
            own = tuple(s for s in seeds.get(name, ()) if same_evaluation(s, record))
            found.append(Published(name, record, str(path), own))
    return found


def same_evaluation(seed: Record, record: Record) -> bool:
    """Return whether a seed's record scored the same split as the run."""
    return all(seed[key] == record[key] for key in ("task", "split", "alteration"))


def identity(record: Record) -> tuple[Any, ...]:
    """Return what makes a record the record of one evaluation."""
    return tuple(record.get(key) for key in IDENTITY)


def every_record(published: Sequence[Published]) -> dict[str, Record]:
    """Return all records, seeds included, by a name for the table."""
    found: dict[str, Record] = {}
    for entry in published:
        found[f"{entry.file} {entry.record['task']} {entry.record['split']}"] = entry.record
        for seed in entry.seeds:
            found[f"{entry.file} seed {seed['seed']} {seed['task']} {seed['split']}"] = seed
    return found


def check_published(
    records: Mapping[str, Record], runs: Sequence[Run]
) -> tuple[list[Row], list[Missing]]:
    """Compare each published record with the record of its run, figure by figure.

    Args:
        records: by their name for the table.
        runs: where they come from.
    """
    known: dict[tuple[Any, ...], list[Record]] = {}
    for run in runs:
        known.setdefault(identity(run.record), []).append(run.record)
    rows: list[Row] = []
    absent: list[Missing] = []
    for name, record in records.items():
        candidates = known.get(identity(record), [])
        own = next((c for c in candidates if c == record), candidates[-1] if candidates else None)
        if own is None:
            absent.append(Missing(name, NO_RUN, (f"record ({len(flatten(record))})",)))
            continue
        figures, wanted = flatten(record), flatten(own)
        shared = {path: value for path, value in wanted.items() if path in figures}
        rows.append(_whole(name, compare(name, figures, shared, "run")))
        extra = tuple(dotted(path) for path in figures if path not in wanted)
        absent += [Missing(name, NOT_IN_RUN, extra)] if extra else []
    return rows, absent


def _whole(name: str, rows: Sequence[Row]) -> Row:
    """Sum up the comparison of a record."""
    wrong = [row for row in rows if not row.equal]
    n = sum(row.n for row in rows)
    detail = "; ".join(f"{r.figure}: {r.published}, {r.recomputed} {r.detail}" for r in wrong[:3])
    counts = f"{n} values", f"{n - len(wrong)} equal"
    return Row(name, "record", *counts, "run", not wrong, n, detail)
