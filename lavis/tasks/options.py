"""Options of tasks: one frozen dataclass per task is default, type, range and documentation.

    @dataclass(frozen=True)
    class MyOptions(TaskOptions):
        k_test: int = task_option(128, "candidates that are re-ranked; 0: none", low=0)

The keys are those of the `run:` section (`lavis.config.run_schema` checks them) and of a named
evaluation. `MyOptions.read(run_cfg)` takes the task's keys from the section and ignores the rest.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

from lavis.config.run_schema import SCALARS, UNSET, Field, checked_value
from lavis.evaluation.controls import CONTROLS

_KINDS = SCALARS | {tuple: "strings"}


def task_option(
    default: Any,
    meaning: str,
    *,
    choices: Sequence[Any] = (),
    low: float = -math.inf,
    high: float = math.inf,
) -> Any:
    """Declare an option: default, meaning and allowed values.

    Args:
        default: value when the key is absent.
        meaning: one line, for messages and documentation.
        choices: the allowed values, when they are few; of a tuple, of each item.
        low, high: inclusive range of a number.
    """
    limits = {"help": meaning, "choices": tuple(choices), "low": low, "high": high}
    return field(default=default, metadata=limits)


@dataclass(frozen=True)
class TaskOptions:
    """Options of every task on point clouds."""

    controls: tuple[str, ...] = task_option(
        (), "test splits under controls, or all", choices=("all", *CONTROLS)
    )
    corruptions: tuple[str, ...] = task_option((), "test splits also corrupted: jitter:3, … or all")

    @classmethod
    def schema(cls) -> dict[str, Field]:
        """Return the options as fields of the `run:` section, without defaults."""
        hints = typing.get_type_hints(cls)
        return {
            item.name: Field(item.name, _kind(hints[item.name]), UNSET, **item.metadata)
            for item in fields(cls)
        }

    @classmethod
    def read(cls, section: Mapping[str, Any], where: str = "task") -> Self:
        """Take this task's keys from a run section; absent and null ones keep their defaults.

        Raises:
            ConfigError: a wrong type, a value out of range or not a choice.
        """
        given = {}
        for name, item in cls.schema().items():
            raw = section.get(name)
            if raw is not None:
                many = isinstance(raw, Sequence) and not isinstance(raw, str)  # or a ListConfig
                value = checked_value(item, list(raw) if many else raw, where)
                given[name] = tuple(value) if item.kind == "strings" else value
        return cls(**given)


def _kind(hint: Any) -> str:
    """Return the kind of a field: `int | None` is int, `tuple[str, ...]` is strings."""
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    return _KINDS[typing.get_origin(hint) or hint]


@dataclass(frozen=True)
class WritingOptions(TaskOptions):
    """Options of tasks in which a model writes."""

    num_beams: int = task_option(1, "beams of the search; 1: greedy or sampling", low=1)
    max_len: int = task_option(30, "most tokens to generate", low=1)
    min_len: int = task_option(1, "fewest tokens to generate", low=0)
    top_p: float | None = task_option(None, "nucleus of sampling", low=0, high=1)
    temperature: float | None = task_option(None, "temperature of sampling; null: 1", low=0)
    prompt: str | None = task_option(None, "prompt of generation instead of the model's")

    def decoding(self) -> dict[str, Any]:
        """Return the arguments of `generate`, which are recorded with the scores."""
        return {
            "num_beams": self.num_beams,
            "max_length": self.max_len,
            "min_length": self.min_len,
            "top_p": self.top_p,
            "temperature": self.temperature or 1.0,
            "prompt": self.prompt,
        }
