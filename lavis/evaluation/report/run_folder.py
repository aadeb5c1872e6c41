"""Result files of a run folder: `<run>/<task>/result/<split>.json` and `<split>_metrics.json`.

One launch of several evaluations (`run.evaluations`) writes `<run>/<job>/result/<task>.json` and
`<task>_metrics.json` instead; there the metrics file names the split.

Controls lie beside them (`<split or task>_<control>_metrics.json`); other training seeds are
read from `<seeds>/<run>_<task>/<seed>.json` (seeds.py).
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavis.common.errors import EvaluationError
from lavis.evaluation.read_records import checked_record, read_json
from lavis.evaluation.records import first_few, validate_ids
from lavis.evaluation.result_hashes import check_hashes
from lavis.evaluation.run_records import RunRecord, check_data_versions, named
from lavis.evaluation.seeds import matching, read_seeds

SPLITS = ("dev_test", "test")  # the first that a run has is shown


@dataclass(frozen=True)
class TaskKind:
    """Description of an evaluation task for the report.

    Attributes:
        folder: sub-folder of the run.
        title: shown to people.
        id_key: id of a prediction.
        keys: what every prediction holds.
        noted: a run without it gets a note; scenes are not noted in runs on objects.
        split: that it always reads; None: the report's.
    """

    folder: str
    title: str
    id_key: str
    keys: tuple[str, ...]
    noted: bool = True
    split: str | None = None


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
        "Classification",
        "instance_id",
        ("instance_id", "label", "prediction", "top_5"),
    ),
    *(
        TaskKind(folder, title, "instance_id", ("instance_id", key), False, split)
        for folder, title, key, split in (
            ("segmentation", "Segmentation", "scene_miou", None),
            ("open_vocabulary", "Open-vocabulary segmentation", "scene_miou", "held_out"),
            ("instances", "Instance segmentation", "scene_ap_50", None),
            ("detection", "Detection", "scene_map_25", None),
            ("referring", "Referring segmentation", "iou", None),
        )
    ),
)


@dataclass(frozen=True)
class TaskResult:
    """The result files of one task.

    Attributes:
        kind: the task.
        run: the metrics record with its name and seeds.
        predictions: one entry per item, sorted by id.
        paths: predictions file and metrics file.
        controls: metrics records of the same split under controls and corruptions.
    """

    kind: TaskKind
    run: RunRecord
    predictions: list[dict[str, Any]]
    paths: tuple[Path, Path]
    controls: tuple[RunRecord, ...] = ()

    @property
    def record(self) -> Mapping[str, Any]:
        """The metrics record."""
        return self.run.record

    @property
    def pictures(self) -> list[dict[str, Any]]:
        """Pictures of scenes (evaluation/scenes/pictures.py); none of other tasks."""
        path = self.paths[0].with_name(f"{self.paths[0].stem}_scenes.json")
        return read_json(path) if path.is_file() else []

    @property
    def title(self) -> str:
        """The task for people; classification with its protocol."""
        if self.kind.folder != "classification":
            return self.kind.title
        return f"{self.run.task[0].upper()}{self.run.task[1:]}"


def load_run(
    run: str | Path, split: str | None = None, seeds: str | Path | None = None
) -> tuple[list[TaskResult], list[str]]:
    """Read every task of a run.

    Args:
        run: folder with one sub-folder per task.
        split: whose results to read; None takes dev_test, or test where there is no dev_test.
        seeds: folder of other training seeds, `<run>_<task>/<seed>.json`; None has none.

    Returns:
        The tasks found, and a sentence for each that is absent.

    Raises:
        EvaluationError: no task at all, a file that is damaged or not what it should be, or tasks
            on different versions of the data.
    """
    split = split or _first_split(Path(run))
    known = read_seeds(seeds) if seeds is not None else {}
    results, notes = [], []
    for kind in KINDS:
        own = kind.split or split
        predictions, metrics = _paths(Path(run), kind, own)
        absent = [path for path in (predictions, metrics) if not path.is_file()]
        if absent:
            if kind.noted:
                notes.append(f"{kind.title} is left out: {absent[0]} does not exist.")
            continue
        check_hashes(metrics)
        record = checked_record(read_json(metrics), metrics)
        entries = _checked_predictions(read_json(predictions), predictions, kind, record)
        name = f"{Path(run).name}_{kind.folder}"
        others = matching(record, known.get(name, ()), f"{seeds}/{name}")
        shown = RunRecord(name, record, str(metrics), others)
        controls = _controls(metrics, own, name)
        results.append(TaskResult(kind, shown, entries, (predictions, metrics), controls))
    if not results:
        raise EvaluationError(
            "there are no results to report",
            where=str(run),
            expected=f"at least one <task>/result/{split}.json with {split}_metrics.json, "
            f"task one of {[kind.folder for kind in KINDS]}",
            fix="run evaluate.py first; `make demo` does everything",
        )
    if not any(result.kind.noted for result in results):  # a run on scenes alone
        notes = []
    check_data_versions([run for r in results for run in (r.run, *r.controls)])
    return results, notes


def _first_split(run: Path) -> str:
    """Return the first of SPLITS that any task has."""
    for split in SPLITS:
        if any(path.is_file() for kind in KINDS for path in _paths(run, kind, split)):
            return split
    return SPLITS[0]


def _controls(metrics: Path, split: str, name: str) -> tuple[RunRecord, ...]:
    """Read the metrics records of the split under controls and corruptions."""
    stem = metrics.name.removesuffix("_metrics.json")
    paths = sorted(metrics.parent.glob(f"{glob.escape(stem)}_*_metrics.json"))
    found = [named(name, checked_record(read_json(path), path), str(path)) for path in paths]
    return tuple(run for run in found if run.alteration is not None and run.split == split)


def _paths(run: Path, kind: TaskKind, split: str) -> tuple[Path, Path]:
    """Of the task's own folder, of its newest job for runs without a job id, or of a shared job."""
    folder = run / kind.folder / "result"
    if not folder.is_dir() and (run / kind.folder / "latest" / "result").is_dir():
        folder = run / kind.folder / "latest" / "result"
    own = folder / f"{split}.json", folder / f"{split}_metrics.json"
    if own[1].is_file():
        return own
    for metrics in sorted(run.glob(f"*/result/{kind.folder}_metrics.json")):
        if read_json(metrics).get("split") == split:
            return metrics.with_name(f"{kind.folder}.json"), metrics
    return own


def _checked_predictions(
    entries: Any, path: Path, kind: TaskKind, record: dict[str, Any]
) -> list[dict[str, Any]]:
    problems = list(_problems(entries, kind, record["n_scored"]))
    if problems:
        raise EvaluationError(
            "a predictions file does not fit its task",
            where=str(path),
            got=problems[0],
            expected=f"a list of {record['n_scored']} objects with {list(kind.keys)}",
            fix="evaluate again; predictions and metrics must come from one evaluation",
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
