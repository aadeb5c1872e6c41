"""The four tasks on scenes, from batches with padding to records, baselines and pictures."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from lavis.common.errors import ConfigError, EvaluationError
from lavis.tasks.point_detection import PointDetectionTask
from lavis.tasks.point_instance_segmentation import PointInstanceSegmentationTask
from lavis.tasks.point_referring import PointReferringTask, first_named
from lavis.tasks.point_segmentation import PointSegmentationTask
from lavis.tasks.scene_task import known_classes
from tests.tasks.scene_toys import HELD_OUT, NAMES, Oracle, Scenes, evaluate, values

SENTENCES = [
    {"scene": "a", "instance_id": "a0", "text_input": "the chair", "target_instance": 0},
    {"scene": "a", "instance_id": "a1", "text_input": "the blue table", "target_instance": 1},
    {"scene": "c", "instance_id": "c0", "text_input": "the chairs' friend", "target_instance": 2},
]
TASKS = {
    "miou": PointSegmentationTask,
    "ap": PointInstanceSegmentationTask,
    "map_50": PointDetectionTask,
}


@pytest.mark.parametrize("metric", TASKS)
def test_a_model_that_is_right_scores_one(metric, tmp_path):
    record, predictions = evaluate(TASKS[metric], tmp_path, Scenes(), Oracle())
    assert values(record)[metric] == pytest.approx(1.0)
    assert record["n_scored"] == len(predictions) == 3
    assert list(record["claims"].values()) == [3]
    known = TASKS[metric].metric_names
    assert all(any(fnmatchcase(name, k) for k in known) for name in record["metrics"])
    (name,) = record["claims"]
    assert all(entry["n"] == 3 for entry in record["comparisons"][name].values())
    assert set(record["comparisons"][name]) == set(record["baselines"]) != set()


def test_mistakes_of_points_cost_the_right_classes(tmp_path):
    record, _ = evaluate(PointSegmentationTask, tmp_path, Scenes(), Oracle(wrong=0.3))
    table = record["extra"]["per_class"]
    assert table["floor"]["accuracy"] == 1.0
    assert table["floor"]["iou"] < 0.9
    assert table["chair"]["iou"] == pytest.approx(0.7, abs=0.1)
    low, high = record["metrics"]["miou"]["ci95"]
    assert low < values(record)["miou"] < high


def test_baselines_of_points_know_colours(tmp_path):
    record, _ = evaluate(PointSegmentationTask, tmp_path, Scenes(), Oracle())
    table = {name: row["miou"] for name, row in record["baselines"].items()}
    assert table["nearest_point"] == pytest.approx(1.0)  # every class has a colour of its own
    assert table["color_height_histogram"] > 0.95
    assert table["most_frequent_class"] < 0.3
    assert table["chance"] < 0.35


def test_baselines_of_objects_find_the_cubes(tmp_path):
    masks, _ = evaluate(PointInstanceSegmentationTask, tmp_path, Scenes(), Oracle(missed=[2]))
    assert masks["extra"]["per_class"]["table"]["ap"] == 0.0
    assert masks["baselines"]["clusters"]["ap_50"] > 0.9
    boxes, _ = evaluate(PointDetectionTask, tmp_path, Scenes(), Oracle(missed=[1, 2]))
    assert values(boxes)["map_25"] == 0.0
    assert boxes["baselines"]["clusters"]["map_25"] > 0.9
    assert boxes["baselines"]["nearest_layout"]["map_25"] < 0.9


def test_classes_without_objects_are_null_with_a_reason(tmp_path):
    dataset = Scenes(["b"])
    record, _ = evaluate(
        PointInstanceSegmentationTask, tmp_path, dataset, Oracle(), least_points=1000
    )
    assert set(values(record).values()) == {None}
    assert "enough points" in record["extra"]["unavailable"]["ap"]
    assert record["claims"] == {}
    one, _ = evaluate(PointDetectionTask, tmp_path, dataset, Oracle())
    assert one["extra"]["per_class"]["table"] == {"map_25": None, "map_50": None}
    assert values(one)["map_50"] == 1.0


def test_open_vocabulary_scores_held_out_classes_beside_chance(tmp_path):
    dataset = Scenes(HELD_OUT, [*NAMES, "lamp"])
    record, _ = evaluate(
        PointSegmentationTask, tmp_path, dataset, Oracle(wrong=0.2), vocabulary="open"
    )
    found = values(record)
    assert found["miou/held_out"] == pytest.approx(0.8, abs=0.05)
    assert found["held_out_only/miou"] == 1.0  # one name is left
    chance = record["baselines"]["chance"]
    assert found["miou/held_out"] > 4 * chance["miou/held_out"]
    assert record["baselines"]["nearest_point"]["miou/held_out"] == 0.0
    assert record["extra"]["held_out_classes"] == ["lamp"]


def test_baselines_choose_among_held_out_names_by_words(tmp_path):
    dataset = Scenes(HELD_OUT, [*NAMES, "armchair", "desk"])
    task = PointSegmentationTask(OmegaConf.create({"seed": 0, "vocabulary": "open"}))
    task.before_evaluation(Oracle(), dataset)
    assert task.alike[1:].tolist() == [0, 1]  # chair: armchair, table: desk
    record, _ = evaluate(
        PointSegmentationTask, tmp_path, dataset, Oracle(wrong=0.2), vocabulary="open"
    )
    baseline = record["baselines"]["most_frequent_class"]  # floor, everywhere
    assert baseline["held_out_only/accuracy"] == float(task.alike[0] == 0)
    assert record["baselines"]["chance"]["held_out_only/accuracy"] == pytest.approx(0.5)


def test_closed_vocabulary_leaves_points_of_held_out_classes_out(tmp_path):
    dataset = Scenes(HELD_OUT, [*NAMES, "lamp"])
    record, _ = evaluate(PointSegmentationTask, tmp_path, dataset, Oracle())
    assert values(record)["miou"] == pytest.approx(1.0)
    assert "lamp" not in record["extra"]["per_class"]


def test_referring_scores_sentences_and_their_baselines(tmp_path):
    dataset = Scenes(sentences=SENTENCES)
    record, predictions = evaluate(
        PointReferringTask, tmp_path, dataset, Oracle(missed=["the blue table"])
    )
    assert values(record)["iou"] == values(record)["accuracy_50"] == pytest.approx(2 / 3)
    rows = record["baselines"]
    assert rows["random_object"]["iou"] == pytest.approx((1 / 2 + 1 / 2 + 1 / 3) / 3)
    assert rows["named_class"]["iou"] == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert [row["iou"] for row in predictions] == [1.0, 0.0, 1.0]


def test_the_class_that_a_sentence_names_first():
    names = ["table", "coffee table", "Chair"]
    assert first_named("the coffee table next to the chair", names) == [1]
    assert first_named("chairs at a table", names) == [2]
    assert first_named("the comfortable one", names) == []
    assert first_named("anything", []) == []


@pytest.mark.parametrize("metric", TASKS)
def test_pictures_are_as_many_as_asked_for(metric, tmp_path):
    evaluate(TASKS[metric], tmp_path, Scenes(), Oracle(), pictures=2)
    pictures = json.loads((tmp_path / "test_scenes.json").read_text())
    assert [p["id"] for p in pictures] == ["a", "b"]
    page = (tmp_path / "test_scenes.html").read_text()
    assert page.count("<canvas") == sum(len(p["panels"]) for p in pictures)


def test_no_pictures_no_files(tmp_path):
    evaluate(PointSegmentationTask, tmp_path, Scenes(), Oracle(), pictures=0)
    assert not list(tmp_path.glob("*_scenes*"))


@pytest.mark.parametrize(
    "own", [["floor", "table", "chair"], ["chair"], [], ["floor", "chair", "table", "lamp"]]
)
def test_other_classes_of_the_model_are_refused(own):
    with pytest.raises(ConfigError, match=r"model\.labels"):
        known_classes(SimpleNamespace(class_names=own), Scenes())


@pytest.mark.parametrize(
    ("metric", "lacking"),
    [("miou", "semantic_label"), ("ap", "instance_label"), ("map_50", "boxes")],
)
def test_data_without_what_is_scored_are_refused(metric, lacking):
    task, dataset = TASKS[metric]({"seed": 0}), Scenes()
    task.before_evaluation(Oracle(), dataset)
    batch = dataset.batches()[0]
    model = Oracle()
    found = model.segment_points(batch), model.segment(batch), model.detect(batch)
    fixed = SimpleNamespace(
        segment_points=lambda *_: found[0], segment=lambda _: found[1], detect=lambda _: found[2]
    )
    del batch[lacking]
    with pytest.raises(EvaluationError, match=f"no {lacking}"):
        task.valid_step(fixed, batch)


def test_a_label_that_the_model_does_not_know_is_refused():
    task, dataset = PointDetectionTask({"seed": 0}), Scenes()
    task.before_evaluation(Oracle(), dataset)
    batch = dataset.batches()[0]
    wrong = [
        {k: v + 5 if k == "labels" else v for k, v in f.items()} for f in Oracle().detect(batch)
    ]
    with pytest.raises(EvaluationError, match="boxes cannot be scored"):
        task.valid_step(SimpleNamespace(detect=lambda _: wrong), batch)


def test_models_without_training_scenes_have_only_chance(tmp_path):
    class NoTraining(Scenes):
        def train_annotation(self):
            return []

    record, _ = evaluate(PointSegmentationTask, tmp_path, NoTraining(), Oracle())
    assert set(record["baselines"]) == {"chance"}
    record, _ = evaluate(PointDetectionTask, tmp_path, NoTraining(), Oracle())
    assert record["baselines"] == {}
    assert torch.is_tensor(NoTraining().batches()[0]["lengths"])
