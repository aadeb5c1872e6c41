"""What a system's training took: object-views, time and memory, read from the logs of its jobs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lavis.common.errors import EvaluationError
from lavis.common.strict_json import parse_json


@dataclass(frozen=True)
class TrainingCost:
    """Sums over the jobs of a system.

    Attributes:
        jobs: their folders' names.
        object_views: objects read in training, repeats counted.
        minutes: of training; None where nothing recorded them.
        gigabytes: highest memory of a process.
        device: of the jobs, e.g. "cpu".
    """

    jobs: tuple[str, ...]
    object_views: int
    minutes: float | None
    gigabytes: float | None
    device: str


def read_cost(folders: Sequence[Path]) -> TrainingCost:
    """Sum the logs of finished jobs.

    Raises:
        EvaluationError: a job without a log, or one that did not finish.
    """
    logs = [_rows(folder) for folder in folders]
    starts = [_last(rows, "start", folder) for rows, folder in zip(logs, folders)]
    ends = [_last(rows, "end", folder) for rows, folder in zip(logs, folders)]
    memory = [row["memory_gb"] for rows in logs for row in rows if row.get("memory_gb")]
    # A resumed job has an end of each launch; steps count from the first.
    seconds = sum(row["seconds"] for rows in logs for row in rows if row["kind"] == "end")
    views = sum(start["global_batch"] * end["global_step"] for start, end in zip(starts, ends))
    return TrainingCost(
        jobs=tuple(folder.resolve().name for folder in folders),
        object_views=views,
        minutes=round(seconds / 60, 1),
        gigabytes=round(max(memory), 1) if memory else None,
        device=", ".join(dict.fromkeys(str(start.get("device")) for start in starts)),
    )


def write_cost(cost: TrainingCost, path: Path) -> None:
    """Write a cost as JSON; its folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(cost), indent=2) + "\n", encoding="utf-8")


def load_costs(folder: Path) -> dict[str, TrainingCost]:
    """Return {system: cost} of `<folder>/<system>.json`.

    Raises:
        EvaluationError: a file that `write_cost` did not write.
    """
    costs = {}
    for path in sorted(folder.glob("*.json")):
        try:
            content = parse_json(path.read_text(encoding="utf-8"))
            costs[path.stem] = TrainingCost(**content | {"jobs": tuple(content["jobs"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            fix = "python -m lavis.evaluation.leaderboard --cost <system> <job folders>"
            what = "the cost of a training cannot be read"
            raise EvaluationError(what, where=path, got=error, fix=fix) from error
    return costs


def _rows(folder: Path) -> list[dict[str, Any]]:
    path = folder / "log.jsonl"
    try:
        return [parse_json(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, ValueError) as error:
        fix = "name the folder of a job, e.g. output/demo/stage1"
        what = "the log of a job cannot be read"
        raise EvaluationError(what, where=path, got=error, fix=fix) from error


def _last(rows: Sequence[dict[str, Any]], kind: str, folder: Path) -> dict[str, Any]:
    """Return the last row of a kind; an unfinished training has no end."""
    found = [row for row in rows if row["kind"] == kind]
    if not found or (kind == "end" and not found[-1].get("finished")):
        got = f"no finished training ({kind})"
        fix = "finish it first: train.py --resume auto"
        raise EvaluationError("a training did not finish", where=folder, got=got, fix=fix)
    return found[-1]
