"""Needs of tasks: checked on the built data, before the model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from lavis.common.errors import DataError
from lavis.tasks.point_captioning import PointCaptioningTask
from lavis.tasks.point_classification import PointClassificationTask
from lavis.tasks.point_generative_classification import PointGenerativeClassificationTask
from lavis.tasks.point_qa import PointQATask
from lavis.tasks.point_retrieval import PointRetrievalTask


def split(*records: dict[str, Any], classes: tuple[str, ...] = ()) -> SimpleNamespace:
    named = [{"instance_id": f"i{n}", "object_id": "0", **r} for n, r in enumerate(records)]
    return SimpleNamespace(annotation=named, class_names=classes)


@pytest.mark.parametrize("task", [PointClassificationTask, PointGenerativeClassificationTask])
def test_classification_needs_classes_and_known_categories(task) -> None:
    with pytest.raises(DataError, match="no class names"):
        task.data_needs.check(split({"caption": "a"}), "run.test_splits: own test")
    data = split({"category": "Chair"}, {"category": "sofa"}, classes=("chair",))
    with pytest.raises(DataError, match=r"1 of 2 records lack the category.*\n.*i1"):
        task.data_needs.check(data, "run.test_splits: own test")
    task.data_needs.check(split({"category": "Chair"}, classes=("chair",)), "")


@pytest.mark.parametrize("task", [PointCaptioningTask, PointRetrievalTask])
def test_captions_are_needed_in_every_record(task) -> None:
    with pytest.raises(DataError, match="lack the caption"):
        task.data_needs.check(split({"caption": "a"}, {"caption": " "}), "")


def test_questions_need_an_answer_and_0_is_one() -> None:
    asked = {"question_id": 0, "question": "how many?"}
    PointQATask.data_needs.check(split({**asked, "answer": 0}), "")
    with pytest.raises(DataError, match="lack the answer"):
        PointQATask.data_needs.check(split({**asked, "answer": 0}, asked), "")


def test_named_evaluations_are_checked_by_their_key() -> None:
    run = OmegaConf.create(
        {
            "test_splits": ["test"],
            "evaluations": {
                "classes": {"task": "point_classification", "dataset": "own", "split": "test"}
            },
        }
    )
    task = PointCaptioningTask(OmegaConf.create({}))
    with pytest.raises(DataError, match=r"run\.evaluations\.classes: own test"):
        task.check_data_needs({"own": {"test": split({"caption": "a"})}}, run)
