"""What to convert, and how: the options of the command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lavis.common.errors import ConfigError
from lavis.datasets.convert.splits import RULE
from lavis.datasets.convert.tasks import FORMAT
from lavis.datasets.convert.up_axis import CHOICES


@dataclass(frozen=True)
class Options:
    """What to convert. Equal options and files give equal bytes, for any number of processes.

    Attributes:
        source: folder of meshes and clouds.
        table: captions, classes, questions, groups; None without texts.
        num_points: P, points of a mesh and the most of a cloud.
        seed: of the samples.
        up: of `up_axis.CHOICES`.
        val, test: shares of the groups in these splits.
        columns: {meaning: column} of the table, see columns.py.
        encoding: of the table, None for UTF-8.
        shard_size: objects in each of the tar shards that are written, too; 0 writes none.

    Raises:
        ConfigError: a value out of range.
    """

    source: Path
    table: Path | None = None
    num_points: int = 8192
    seed: int = 0
    up: str = "auto"
    val: float = 0.1
    test: float = 0.1
    columns: Mapping[str, str] = field(default_factory=dict)
    encoding: str | None = None
    shard_size: int = 0

    def __post_init__(self) -> None:
        checks = {
            "--num-points": (self.num_points, 1 <= self.num_points <= 2**20, "1 to 1,048,576"),
            "--shards": (self.shard_size, self.shard_size >= 0, "0 or more"),
            "--seed": (self.seed, 0 <= self.seed < 2**63, "0 or more"),
            "--up": (self.up, self.up in CHOICES, " or ".join(CHOICES)),
            "--val": (self.val, 0 <= self.val < 1, "0 to 1"),
            "--test": (self.test, self.test >= 0 and self.val + self.test < 1, "val + test < 1"),
        }
        for name, (got, is_right, expected) in checks.items():
            if not is_right:
                what = "an option is out of range"
                raise ConfigError(what, where=name, got=got, expected=expected)

    def parameters(self) -> dict[str, Any]:
        """Return what the manifest records and compares."""
        return {
            "num_points": self.num_points,
            "seed": self.seed,
            "up": self.up,
            "val": self.val,
            "test": self.test,
            "columns": dict(self.columns),
            "shard_size": self.shard_size,
            "split_rule": RULE,
            "format": FORMAT,
        }
