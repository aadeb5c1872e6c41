"""What inference of each system takes: the result file of `benchmarks/system_inference.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavis.common.errors import EvaluationError
from lavis.common.text_files import read_json
from lavis.evaluation.formatting import markdown_table

COMMAND = "python -m benchmarks.system_inference"
NOT_MEASURED = f"Not measured: `{COMMAND}`."
WHAT = {"embed": "embedding of an object", "caption": "caption", "segment": "labels of a room"}
NOTE = (
    "Items per second {time}, and the highest memory of the process once the model is built, "
    "libraries included. Objects: "
    "{objects} of `dev_test`; captions of {tokens} tokens each; rooms of 40,000 points. "
    "Weights: those of a training, or the initial ones of the recipe, which take the same time and "
    "memory. {cpu}, {date}, by `{command}`."
)
_CPU_TIME = "of CPU time of one thread"
_WALL_TIME = "of wall time"


@dataclass(frozen=True)
class InferenceCost:
    """One ability of a system.

    Attributes:
        system: name of the leaderboard.
        ability: embed, caption or segment.
        per_second: items in a second.
        gigabytes: highest memory of the process.
        parameters: of the model, frozen ones counted.
        trained: the weights are those of a training, not a recipe's initial ones.
    """

    system: str
    ability: str
    per_second: float
    gigabytes: float
    parameters: int
    trained: bool


@dataclass(frozen=True)
class InferenceCosts:
    """A measurement of several systems.

    Attributes:
        rows: one for each system and ability.
        note: what was measured, where and when.
    """

    rows: tuple[InferenceCost, ...]
    note: str

    def table(self, labels: Mapping[str, str]) -> str:
        """Lay out the rows in the order of `labels`, {system: label}, as Markdown."""
        rows = [
            [
                label,
                WHAT[row.ability],
                f"{row.per_second:.3g}",
                f"{row.gigabytes:.1f}",
                f"{row.parameters / 1e6:.0f}",
                "trained" if row.trained else "initial",
            ]
            for name, label in labels.items()
            for row in self.rows
            if row.system == name
        ]
        header = ("System", "Item", "Items/s", "Memory, GB", "Parameters, million", "Weights")
        return f"{self.note}\n\n{markdown_table(header, header[2:5], rows)}"


def load_inference(path: Path) -> InferenceCosts | None:
    """Read a result file; None where there is none.

    Raises:
        EvaluationError: a file that the benchmark did not write.
    """
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        return InferenceCosts(tuple(_row(row) for row in content["rows"]), _note(content))
    except (OSError, ValueError, TypeError, KeyError) as error:
        what = "the time of inference cannot be read"
        raise EvaluationError(what, where=path, got=error, fix=COMMAND) from error


def _row(row: Mapping[str, Any]) -> InferenceCost:
    if row["ability"] not in WHAT:
        raise ValueError(f"ability {row['ability']!r}")
    return InferenceCost(
        system=row["system"],
        ability=row["ability"],
        per_second=row["per_second"],
        gigabytes=row["peak_gb"],
        parameters=row["parameters"],
        trained=row["source"] == "trained",
    )


def _note(content: Mapping[str, Any]) -> str:
    options, devices = content["options"], {row["device"] for row in content["rows"]}
    on_cpu = devices <= {"cpu"}
    return NOTE.format(
        time=_CPU_TIME if on_cpu else _WALL_TIME,
        objects=options["objects"],
        tokens=options["tokens"],
        cpu=content["machine"]["cpu"] if on_cpu else ", ".join(sorted(devices)),
        date=content["date"],
        command=COMMAND,
    )
