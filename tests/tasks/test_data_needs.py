"""Needs of tasks: checked on the built data, before the model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from lavis.common.errors import ConfigError, DataError
from lavis.tasks.alignment_study import AlignmentStudyTask
from lavis.tasks.modality_retrieval import ModalityRetrievalTask
from lavis.tasks.point_captioning import PointCaptioningTask
from lavis.tasks.point_classification import PointClassificationTask
from lavis.tasks.point_generative_classification import PointGenerativeClassificationTask
from lavis.tasks.point_llm_protocol import PointLLMCaptioningTask
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


@pytest.mark.parametrize(
    "task",
    [PointCaptioningTask, PointRetrievalTask, PointLLMCaptioningTask, AlignmentStudyTask],
)
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


class Questions(SimpleNamespace):
    """Questions of a split, and those of the training split."""

    def train_annotation(self) -> list[dict[str, Any]]:
        return self.train


ASKED = {"question_id": "q0", "question": "which color?", "answer": "red", "family": "color"}


def check_qa(mode: str, train: list[dict[str, Any]], **entry: Any) -> None:
    task = PointQATask(OmegaConf.create({"qa_mode": mode}))
    data = Questions(**vars(split({**ASKED, **entry})), train=train)
    task.check_data(data, "run.test_splits: own test")


@pytest.mark.parametrize(
    ("mode", "train", "choices"),
    [
        ("choice", [], None),  # nothing to draw from
        ("choice", [{**ASKED, "answer": "Red"}], None),  # no wrong answer
        ("choice", [], ["blue", "green"]),  # without the answer
        ("rank", [], None),
        ("rank", [{**ASKED, "family": "count"}], None),
    ],
)
def test_candidates_that_no_data_give_are_refused_before_the_model(mode, train, choices) -> None:
    with pytest.raises(ConfigError, match=r"run\.test_splits: own test[\s\S]*qa_mode=generate"):
        check_qa(mode, train, choices=choices)


def test_written_answers_need_no_candidates() -> None:
    check_qa("generate", [])
    check_qa("choice", [], choices=["blue", "red"])
    check_qa("rank", [ASKED])


class Pairs(SimpleNamespace):
    """Records with a batch of some fields."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.sample

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        return {key: [sample[key] for sample in samples] for key in samples[0]}


def pairs(*records: dict[str, Any], **sample: Any) -> Pairs:
    return Pairs(**vars(split(*records)), sample=sample)


@pytest.mark.parametrize(
    ("modalities", "message"),
    [
        (["point", "image"], "the data set has no 'image'"),
        (["text", "audio"], "the data set has no 'audio'"),
        (["point"], "too few modalities"),
    ],
)
def test_modalities_that_the_data_lack_are_refused_before_the_model(modalities, message) -> None:
    task = ModalityRetrievalTask(OmegaConf.create({"modalities": modalities}))
    with pytest.raises(ConfigError, match=message):
        task.check_data(pairs({"caption": "a"}, point_cloud=0, text_input="a"), "")


def test_retrieval_with_texts_needs_captions() -> None:
    task = ModalityRetrievalTask(OmegaConf.create({"modalities": ["point", "text"]}))
    task.check_data(pairs({"caption": "a"}, point_cloud=0, text_input="a"), "")
    with pytest.raises(DataError, match="lack the caption"):
        task.check_data(pairs({"caption": "a"}, {}, point_cloud=0, text_input="a"), "")


@pytest.mark.parametrize(
    ("direction", "message"),
    [
        ("object_to_object", "no two objects share a category"),
        ("image_to_object", "there are no images to search with"),
    ],
)
def test_extra_directions_are_checked_before_the_model(direction, message) -> None:
    task = PointRetrievalTask(OmegaConf.create({"extra_directions": [direction]}))
    one, other = ({"caption": "a", "category": name} for name in ("chair", "sofa"))
    with pytest.raises(ConfigError, match=message):
        task.check_data(pairs(one, other, point_cloud=0), "")
    task.check_data(pairs(one, one, point_cloud=0, image_embeds=0), "")


def test_options_of_a_named_evaluation_decide_what_it_needs() -> None:
    place = {"task": "point_qa", "dataset": "own", "split": "test", "qa_mode": "choice"}
    run = OmegaConf.create({"evaluations": {"choices": place}})
    data = {"own": {"test": Questions(**vars(split(ASKED)), train=[])}}
    with pytest.raises(ConfigError, match=r"run\.evaluations\.choices: own test: question q0"):
        PointQATask(OmegaConf.create({})).check_data_needs(data, run)
