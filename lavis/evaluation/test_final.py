"""The lock of the test-final split: it is scored only on purpose, and each time is logged.

A record belongs to test-final when its annotation's `split` is "test_final", whatever the file or
the split of the recipe is called; or when the recipe's split is `test_final`. Training and
validation on it are refused. Scoring needs

    python evaluate.py --cfg-path … --test-final "<reason>"

and a tree without uncommitted changes. Each evaluation appends one line to
docs/test_final_log.jsonl before its result files are written: {date, commit, recipe, job,
metrics_file, reason}. The log itself may have uncommitted lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lavis.common import files
from lavis.common.errors import ConfigError, EvaluationError
from lavis.evaluation.provenance import git_commit

SPLIT = "test_final"
LOG = Path("docs") / "test_final_log.jsonl"


def is_test_final(dataset: Any) -> bool:
    """Return whether any record of a data set belongs to the test-final split."""
    annotation = getattr(dataset, "annotation", ())
    return any(isinstance(entry, Mapping) and entry.get("split") == SPLIT for entry in annotation)


def check_test_final(datasets: Mapping[str, Mapping[str, Any]], run: Any, root: str | Path) -> None:
    """Refuse test-final records unless the run is an evaluation with a reason.

    Args:
        datasets: {data set: {split: dataset with `annotation`}}.
        run: the run section: evaluate, train_splits, valid_splits, test_splits, evaluations,
            test_final_reason.
        root: of the repository.

    Raises:
        ConfigError: training or validation on test-final, scoring it without a reason or from a
            tree with uncommitted changes, or a reason without test-final records.
    """
    splits = list(dict.fromkeys([*run.get("valid_splits", []), *run.get("test_splits", [])]))
    if not run.evaluate:
        splits += list(run.get("train_splits", []))
    locked = _locked(datasets, splits)
    for place in run.get("evaluations", {}).values():
        only = {place["dataset"]: datasets[place["dataset"]]}
        locked += [name for name in _locked(only, [place["split"]]) if name not in locked]
    reason = run.get("test_final_reason")
    if locked and not run.evaluate:
        _refuse("a training run uses test-final records", locked, "train and select on others")
    if locked and not reason:
        _refuse("test-final is locked", locked, 'evaluate.py --test-final "<reason>", or dev_test')
    if reason and not locked:
        raise ConfigError(
            "--test-final is given, and no evaluated split holds test-final records",
            where="run.test_final_reason",
            got=splits,
            fix="remove the flag, or evaluate the split test_final",
        )
    if locked:
        _check_clean(git_commit(root))


def _locked(datasets: Mapping[str, Mapping[str, Any]], splits: Iterable[str]) -> list[str]:
    """Return "data set/split" of the named splits that hold test-final records."""
    return [
        f"{name}/{split}"
        for name, members in datasets.items()
        for split in dict.fromkeys(splits)
        if split in members and (split == SPLIT or is_test_final(members[split]))
    ]


def _refuse(what: str, locked: list[str], fix: str) -> None:
    raise ConfigError(what, where=", ".join(locked), got=f"split {SPLIT!r}", fix=fix)


def _check_clean(commit: str | None) -> None:
    if commit is None or commit.endswith("-dirty"):
        raise ConfigError(
            "test-final is scored from a committed tree only",
            got="no git checkout" if commit is None else f"uncommitted changes on {commit}",
            fix="commit the changes first",
        )


def log_line(
    reason: str, commit: str | None, recipe: str | None, job: str, metrics_file: str
) -> dict[str, Any]:
    """Compose a line of the log, dated now (UTC).

    Args:
        reason: why test-final is scored.
        commit: of the code.
        recipe: path of the recipe's yaml.
        job: folder of the job.
        metrics_file: where the scores will be.
    """
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "date": date,
        "commit": commit,
        "recipe": recipe,
        "job": job,
        "metrics_file": metrics_file,
        "reason": reason,
    }


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Append a line of JSON and force it to the disk; a torn last line is closed first.

    Raises:
        EvaluationError: the log cannot be written, so the evaluation is refused.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.append_line(path, json.dumps(line, ensure_ascii=False, allow_nan=False), sync=True)
    except OSError as error:
        raise EvaluationError(
            "the test-final log cannot be written", where=str(path), got=str(error)
        ) from error
