"""Questions about ScanNet's scenes: ScanQA (several answers each) and SQA3D (with a situation).

Scenes are large: `points.num_points` of their vertices are used, the same in every epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lavis.common.text_files import read_json
from lavis.datasets.datasets.annotations import Entry
from lavis.datasets.sources.released import ReleasedSource
from lavis.datasets.stores.array_stores import SampledStore
from lavis.datasets.stores.point_stores import PointStore

SQA3D_TYPES = ("what", "is", "how", "can", "which")  # first words; the rest are others


class ScanQASource(ReleasedSource):
    """Lists of {question_id, scene_id, question, answers}."""

    origin = (
        "ScanQA_v1.0_<split>.json (github.com/ATR-DBI/ScanQA): question_id, scene_id, question, "
        "answers; scenes of ScanNet v2: <scene>/<scene>_vh_clean_2.ply"
    )

    def read(self, path: Path) -> list[Entry]:
        """Return a record per question; test files of the release have no answers."""
        return [_entry(number, record) for number, record in enumerate(_list(read_json(path)))]

    def open_store(self) -> PointStore:
        """Return the scenes' vertices, sampled."""
        points = self.info.points
        seed = int(points.seed)
        return SampledStore(super().open_store(), int(points.num_points), seed)


class SQA3DSource(ScanQASource):
    """Questions after a situation; the answers are in a file beside that of the questions."""

    origin = (
        "SQA3D's sqa_task.zip (zenodo.org/record/7792397): balanced/v1_balanced_questions_<split>_"
        "scannetv2.json, and v1_balanced_sqa_annotations_<split>_scannetv2.json beside it; scenes "
        "of ScanNet v2"
    )

    def files(self) -> list[tuple[str, Path]]:
        """Return the files of questions, and those of answers."""
        found = super().files()
        return found + [(k, answers_path(p)) for k, p in found if k.startswith("annotations")]

    def read(self, path: Path) -> list[Entry]:
        """Return a record per question: the situation, then the question."""
        given = {
            str(record["question_id"]): [one["answer"] for one in record["answers"]]
            for record in _list(read_json(answers_path(path))["annotations"])
        }
        return [
            _entry(number, {**record, "answers": given[str(record["question_id"])]})
            for number, record in enumerate(_list(read_json(path)["questions"]))
        ]


def answers_path(questions: Path) -> Path:
    """Return the file of SQA3D's answers in the folder of its questions."""
    return questions.with_name(questions.name.replace("questions", "sqa_annotations"))


def _list(content: Any) -> list[Any]:
    if not isinstance(content, list):
        raise ValueError(f"a {type(content).__name__}, no list of records")
    return content


def _entry(number: int, record: Any) -> Entry:
    """Return the record of a question.

    Raises:
        ValueError: no question, scene or answer; the place in the file is named.
    """
    names = ("question_id", "scene_id", "question", "answers")
    missing = [n for n in names if not isinstance(record, Mapping) or record.get(n) in (None, [])]
    if missing:
        raise ValueError(f"record {number}: no {', '.join(missing)}")
    first = str(record["question"]).split(" ", 1)[0].lower()
    kind = first if first in SQA3D_TYPES else "others"
    asked = [record[key] for key in ("situation", "question") if record.get(key)]
    return {
        "question_id": str(record["question_id"]),
        "object_id": str(record["scene_id"]),
        "question": " ".join(asked),
        "answers": record["answers"],
        "family": kind,
        "question_type": kind,
    }
