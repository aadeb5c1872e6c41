"""Check `run.evaluations` and `run.best` before anything is built."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lavis.common.errors import ConfigError, nearest
from lavis.common.registry import registry
from lavis.config.run_schema import Field, checked_value, task_options

# Keys of an evaluation other than the options of its task.
PLACE = (
    Field("task", "str", None, "registered task"),
    Field("dataset", "str", None, "data set of the section datasets"),
    Field("split", "str", None, "split of the data set"),
    Field("every", "int", None, "epochs between scorings in training; 0: at the end only", low=0),
)


def check_evaluations(
    run: Mapping[str, Any], datasets: Sequence[str], where: str
) -> dict[str, dict[str, Any]]:
    """Return the named evaluations, checked and completed with task, data set and split.

    Args:
        run: the checked run section.
        datasets: names of the section `datasets`.
        where: the recipe's path, for messages.

    Raises:
        ConfigError: an unknown task, data set or key, a wrong value, or a name that cannot be one
            of a file; names `run.evaluations.<name>.<key>`.
    """
    checked = {}
    for name, section in run["evaluations"].items():
        key = f"evaluations.{name}"
        _check_name(name, run, f"{where}: run.{key}")
        task = section.get("task") or run["task"]
        _known(task, registry.list_tasks(), f"{where}: run.{key}.task")
        dataset = section.get("dataset") or (datasets[0] if len(datasets) == 1 else None)
        _known(dataset, datasets, f"{where}: run.{key}.dataset")
        fields = {field.name: field for field in PLACE} | task_options(task)
        for option in section:
            _known(option, fields, f"{where}: run.{key}.{option}")
        place = {**section, "task": task, "dataset": dataset}
        if place.get("split") is None:
            raise ConfigError("a split is missing", where=f"{where}: run.{key}.split", got=None)
        checked[name] = {
            option: checked_value(replace(fields[option], name=f"{key}.{option}"), value, where)
            for option, value in place.items()
            if value is not None
        }
    _check_best(run, checked, where)
    return checked


def _check_name(name: str, run: Mapping[str, Any], where: str) -> None:
    """Refuse a name that is not one of a file, or that another result has."""
    if not re.fullmatch(r"[\w-]+", name):
        raise ConfigError(
            "the name of an evaluation names its files",
            where=where,
            got=name,
            expected="letters, digits, _ and -",
        )
    if name in (*run["valid_splits"], *run["test_splits"]):
        raise ConfigError(
            "an evaluation has the name of a split of run.valid_splits or run.test_splits",
            where=where,
            got=name,
            fix="rename the evaluation",
        )


def _check_best(
    run: Mapping[str, Any], evaluations: Mapping[str, Mapping[str, Any]], where: str
) -> None:
    """Check that run.best names an evaluation that is scored while training."""
    if run["best"] is None:
        return
    name, slash, metric = run["best"].partition("/")
    _known(name, [*run["valid_splits"], *evaluations], f"{where}: run.best")
    if not slash or not metric:
        raise ConfigError(
            "a metric is missing",
            where=f"{where}: run.best",
            got=run["best"],
            expected="<evaluation>/<metric>",
        )
    every = evaluations.get(name, {}).get("every", run["eval_freq"])
    if every == 0:
        raise ConfigError(
            "the evaluation that selects best is never scored while training",
            where=f"{where}: run.evaluations.{name}.every",
            got=0,
            expected="at least 1",
        )


def _known(name: Any, known: Any, where: str) -> None:
    """Refuse a name that is not among the known ones."""
    if name not in known:
        what = f"unknown name {name!r}.{nearest(str(name), known)}"
        raise ConfigError(what, where=where, got=name, expected=", ".join(sorted(known)))
