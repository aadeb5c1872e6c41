"""Result files of a run folder: `<run>/<task>/result/<split>.json` and `<split>_metrics.json`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavis.common.errors import EvaluationError, explain
from lavis.evaluation.read_records import checked_record, read_json
from lavis.evaluation.records import first_few, validate_ids


@dataclass(frozen=True)
class TaskKind:
    """An evaluation task as the report knows it.

    Attributes:
        folder: sub-folder of the run.
        title: shown to people.
        id_key: id of a prediction.
        keys: what every prediction holds.
    """

    folder: str
    title: str
    id_key: str
    keys: tuple[str, ...]


KINDS = (
    TaskKind("captioning", "Captioning", "image_id", ("image_id", "2d_caption", "caption")),
    TaskKind(
        "retrieval",
        "Retrieval",
        "instance_id",
        (
            "instance_id",
            "caption",
            "object_to_text_rank",
            "text_to_object_rank",
            "top_captions",
            "top_objects",
        ),
    ),
    TaskKind(
        "qa",
        "Question answering",
        "question_id",
        ("question_id", "object_id", "question", "answer", "family", "prediction", "correct"),
    ),
    TaskKind(
        "classification",
        "Zero-shot classification",
        "instance_id",
        ("instance_id", "label", "prediction", "top_5"),
    ),
)


@dataclass(frozen=True)
class TaskResult:
    """What one task left behind.

    Attributes:
        kind: the task.
        record: the metrics record.
        predictions: one entry per item, sorted by id.
        paths: predictions file and metrics file.
    """

    kind: TaskKind
    record: dict[str, Any]
    predictions: list[dict[str, Any]]
    paths: tuple[Path, Path]


def load_run(run: str | Path, split: str = "test") -> tuple[list[TaskResult], list[str]]:
    """Read every task of a run.

    Args:
        run: folder with one sub-folder per task.
        split: whose results to read.

    Returns:
        The tasks found, and a sentence for each that is absent.

    Raises:
        EvaluationError: no task at all, or a file that is damaged or not what it should be.
    """
    results, notes = [], []
    for kind in KINDS:
        predictions, metrics = _paths(Path(run), kind, split)
        absent = [path for path in (predictions, metrics) if not path.is_file()]
        if absent:
            notes.append(f"{kind.title} is left out: {absent[0]} does not exist.")
            continue
        record = checked_record(read_json(metrics), metrics)
        entries = _checked_predictions(read_json(predictions), predictions, kind, record)
        results.append(TaskResult(kind, record, entries, (predictions, metrics)))
    if not results:
        raise EvaluationError(
            explain(
                "there are no results to report",
                where=str(run),
                expected=f"at least one <task>/result/{split}.json with {split}_metrics.json, "
                f"task one of {[kind.folder for kind in KINDS]}",
                fix="run evaluate.py first; `make demo` does everything",
            )
        )
    return results, notes


def _paths(run: Path, kind: TaskKind, split: str) -> tuple[Path, Path]:
    """Of the task's own folder or, for runs without a job id, of its newest job."""
    folder = run / kind.folder / "result"
    if not folder.is_dir() and (run / kind.folder / "latest" / "result").is_dir():
        folder = run / kind.folder / "latest" / "result"
    return folder / f"{split}.json", folder / f"{split}_metrics.json"


def _checked_predictions(
    entries: Any, path: Path, kind: TaskKind, record: dict[str, Any]
) -> list[dict[str, Any]]:
    problems = list(_problems(entries, kind, record["n_scored"]))
    if problems:
        raise EvaluationError(
            explain(
                "a predictions file does not fit its task",
                where=str(path),
                got=problems[0],
                expected=f"a list of {record['n_scored']} objects with {list(kind.keys)}",
                fix="evaluate again; predictions and metrics must come from one evaluation",
            )
        )
    validate_ids([entry[kind.id_key] for entry in entries], entries, kind.id_key)
    return sorted(entries, key=lambda entry: str(entry[kind.id_key]))


def _problems(entries: Any, kind: TaskKind, n_scored: int) -> Iterator[str]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        yield "not a list of objects"
        return
    for number, entry in enumerate(entries):
        missing = [key for key in kind.keys if key not in entry]
        if missing:
            yield f"entry {number} lacks {first_few(missing)}"
    if len(entries) != n_scored:
        yield f"{len(entries)} entries, but {n_scored} were scored"
