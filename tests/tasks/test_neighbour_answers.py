"""Answers by votes of the training questions about the nearest objects."""

from __future__ import annotations

import math

import pytest
import torch
from omegaconf import OmegaConf

from lavis.common.errors import ConfigError
from lavis.models.abilities import JointEmbedder
from lavis.tasks.neighbour_answers import NeighbourAnswers
from lavis.tasks.point_qa import PointQATask

PHRASES = {"clip hinge": 0.0, "hinge": 0.3, "tail": 1.6}


class Circle:
    """Objects and what questions name are angles."""

    abilities = (JointEmbedder,)
    modalities = ("point", "text")
    device = torch.device("cpu")

    def embed(self, samples, modality):
        return torch.stack([samples["point_cloud"].cos(), samples["point_cloud"].sin()], 1)

    def embed_texts(self, texts):
        angles = torch.tensor([PHRASES.get(text, 3.0) for text in texts])
        return torch.stack([angles.cos(), angles.sin()], 1)


class Questions:
    """One object per angle; several questions about each."""

    def __init__(self, angles, questions, reference=None, unit=None):
        self.angles, self.reference, self.unit = angles, reference, unit
        self.annotation = [
            {
                "question_id": f"{name}:{number}",
                "instance_id": f"{name}:{number}",
                "object_id": name,
                "question": question,
                "answer": answer,
                "question_type": kind,
                "family": kind,
                **({"group": "mould"} if name in ("near", "asked") else {}),
            }
            for number, (name, kind, question, answer) in enumerate(questions)
        ]

    def __len__(self):
        return len(self.annotation)

    def __getitem__(self, row):
        record = self.annotation[row]
        angle = torch.tensor(self.angles[record["object_id"]])
        return {k: v for k, v in record.items() if k != "group"} | {"point_cloud": angle}

    def collater(self, samples):
        batch = {key: [sample[key] for sample in samples] for key in samples[0]}
        boxes = torch.tensor([[2.0, 1.0, 3.9]] * len(samples))
        return batch | {"point_cloud": torch.stack(batch["point_cloud"]), "box_size": boxes}

    def reference_dataset(self):
        return self.reference


TRAIN = Questions(
    {"near": 0.0, "far": 0.8, "other": 3.0},
    [
        ("near", "category", "what is it?", "gear"),
        ("far", "category", "what is it?", "plate"),
        ("other", "category", "what is it?", "tile"),
        ("far", "feature", "does it have a hinge?", "yes"),
        ("other", "feature", "does it have a hinge?", "no"),
        ("far", "feature", "does it have a tail?", "no"),
        ("near", "stud_dimensions", "what is its footprint?", "9 x 9"),
    ],
)


def answered(name, kind, question, sharp=(0.05, 0.1), **given):
    split = Questions({name: 0.3}, [(name, kind, question, "?")], TRAIN, "stud")
    neighbours = NeighbourAnswers.read(Circle(), split, 2, **given)
    batch = split.collater([split[0]])
    return neighbours.answers(Circle(), batch, split.annotation, sharp)[0]


def test_the_nearest_object_answers_first():
    assert answered("new", "category", "what kind is it?") == ["gear", "plate", "tile"]


def test_objects_of_the_own_group_do_not_vote():
    assert answered("asked", "category", "what is it?")[0] == "plate"


def test_yes_no_questions_learn_from_similar_words():
    assert answered("new", "feature", "does it have a clip hinge?")[0] == "yes"
    assert answered("new", "feature", "does it have a tail?")[0] == "no"


def test_without_types_similar_questions_vote():
    """Object "far" is nearer, and its answer is about a hinge; "other" was asked about tails."""
    questions = [("far", "", "has it a hinge?", "yes"), ("other", "", "what tail has it?", "long")]
    train = Questions(TRAIN.angles, questions)
    split = Questions({"new": 0.8}, [("new", "", "which tail has it?", "?")], train)
    neighbours = NeighbourAnswers.read(Circle(), split, 2)
    batch = split.collater([split[0]])
    found = [
        neighbours.answers(Circle(), batch, split.annotation, (1.0, temperature))[0][0]
        for temperature in (0.1, 1e6)
    ]
    assert found == ["long", "yes"]


def test_a_type_without_training_questions_has_no_answer():
    assert answered("new", "colour", "which colour is it?") == [""]


def test_sizes_come_from_votes_or_from_the_own_box():
    assert answered("new", "stud_dimensions", "what is its footprint?")[0] == "9 x 9"
    own = answered("new", "stud_dimensions", "what is its footprint?", own_size=True)
    assert own == ["2 x 4"]


def test_own_sizes_need_data_in_studs():
    split = Questions({"new": 0.1}, [("new", "category", "what is it?", "?")], TRAIN, "metre")
    with pytest.raises(ConfigError, match=r"(?s)run\.answer_own_size.*stud"):
        NeighbourAnswers.read(Circle(), split, 2, own_size=True)


def test_several_vectors_per_object_count_the_same():
    class Queries(Circle):
        def embed(self, samples, modality):
            one = super().embed(samples, modality)
            return torch.stack([one, one.flip(1)], 1)

    split = Questions({"new": 0.3}, [("new", "category", "what is it?", "?")], TRAIN)
    one, two = (NeighbourAnswers.read(model, split, 2) for model in (Circle(), Queries()))
    torch.testing.assert_close(two.clouds @ two.clouds.T, one.clouds @ one.clouds.T)
    batch, records = split.collater([split[0]]), split.annotation
    found = two.answers(Queries(), batch, records, (0.05, 0.1))
    assert found == one.answers(Circle(), batch, records, (0.05, 0.1))


def test_votes_are_those_of_the_kernel():
    """At temperatures of one the weights of "near" and "far" are known."""
    split = Questions({"new": 0.3}, [("new", "category", "what is it?", "?")], TRAIN)
    neighbours = NeighbourAnswers.read(Circle(), split, 2)
    kept = neighbours.voters["category"]
    weights = (neighbours.clouds[kept.rows] @ torch.tensor([math.cos(0.3), math.sin(0.3)])).exp()
    order = weights.argsort(descending=True).tolist()
    found = neighbours.answers(Circle(), split.collater([split[0]]), split.annotation, (1.0, 1.0))
    assert found[0] == [kept.answers[int(kept.answer_of[k])] for k in order]


def test_the_task_votes_and_needs_an_embedder():
    keys = {"qa_mode": "neighbours", "batch_size_eval": 2, "seed": 1}
    task = PointQATask(OmegaConf.create(keys))
    assert task.needed_abilities() == {JointEmbedder: "run.qa_mode=neighbours"}
    split = Questions({"new": 0.3}, [("new", "category", "what is it?", "gear")], TRAIN)
    task.before_evaluation(Circle(), split)
    record = task.valid_step(Circle(), split.collater([split[0]]))[0]
    assert (record["prediction"], record["ranked"]) == ("gear", ["gear", "plate", "tile"])
