"""Several runs of one recipe with different seeds: mean and standard deviation of each score.

    docs/results/seeds/<recipe>/<seed>.json      metrics records, one file for each training seed

The interval over items measures the dependence of a score on the items of the split; the spread
over seeds measures its dependence on the training run. A table shows both.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavis.common.errors import EvaluationError
from lavis.evaluation.read_records import read_records

Record = Mapping[str, Any]
_SAME = ("task", "split", "n_scored", "data")  # what the seeds of a recipe have in common


@dataclass(frozen=True)
class Spread:
    """A score over several seeds.

    Attributes:
        mean: over the seeds.
        deviation: sample standard deviation (n - 1).
        n: number of seeds.
    """

    mean: float
    deviation: float
    n: int


def read_seeds(folder: str | Path) -> dict[str, list[dict[str, Any]]]:
    """Read {recipe: records of all its seeds}; empty without the folder.

    Raises:
        EvaluationError: a file name that is not a seed, or a file that is not a metrics record.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(Path(folder).glob("*/*.json")):
        if not path.stem.isdigit():
            raise EvaluationError(
                "a file of a recipe's seeds is named by its seed",
                where=str(path),
                expected="a whole number, e.g. 43.json",
            )
        found.setdefault(path.parent.name, []).extend(read_records(path))
    return found


def matching(record: Record, seeds: Sequence[Record], where: str) -> tuple[Record, ...]:
    """Return the seeds' records of the same task, split and alteration.

    Raises:
        EvaluationError: they scored other items or another version of the data.
    """
    same = [s for s in seeds if all(s[k] == record[k] for k in ("task", "split", "alteration"))]
    for seed in same:
        different = [key for key in _SAME if seed[key] != record[key]]
        if different:
            raise EvaluationError(
                "a seed was not evaluated like its run",
                where=where,
                got={key: seed[key] for key in different},
                expected={key: record[key] for key in different},
                fix="evaluate all seeds on the same items of the same data version",
            )
    return tuple(same)


def spread(metric: str, seeds: Sequence[Record]) -> Spread | None:
    """Return mean and standard deviation of a metric; None with fewer than two seeds."""
    found = [seed["metrics"].get(metric, {}).get("value") for seed in seeds]
    values = [value for value in found if value is not None]
    if len(values) < 2:
        return None
    return Spread(statistics.fmean(values), statistics.stdev(values), len(values))
