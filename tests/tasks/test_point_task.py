"""What every task shares: ids are checked, results written, errors named."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from omegaconf import OmegaConf

from lavis.common.errors import ConfigError, EvaluationError
from lavis.models.abilities import Captioner, TextRetriever
from lavis.tasks.point_captioning import PointCaptioningTask, first_texts
from lavis.tasks.point_classification import named_prediction
from lavis.tasks.point_qa import PointQATask
from lavis.tasks.point_retrieval import same_caption_groups
from lavis.tasks.point_task import PointTask, Scores
from tests.tasks.evaluating_runner import runner_in


@pytest.fixture
def runner(tmp_path):
    return runner_in(tmp_path, run={"seed": 1})


class Questions:
    """Two test questions, four training ones."""

    annotation = [{"question_id": "q1"}, {"question_id": "q2"}]  # noqa: RUF012

    def train_annotation(self):
        return [{"family": "color", "answer": a} for a in ("red", "red", "blue", "green")]


def record(question_id: str, answer: str, prediction: str) -> dict:
    return {
        "question_id": question_id,
        "object_id": "3001",
        "question": "what color is it?",
        "answer": answer,
        "family": "color",
        "prediction": prediction,
    }


@pytest.fixture
def task() -> PointQATask:
    return PointQATask(OmegaConf.create({"seed": 1}))


def test_scores_and_files(task, runner, tmp_path):
    records = [record("q2", "red", "blue"), record("q1", "blue", "Blue.")]
    result = task.after_evaluation(records, "test", "best", Questions(), None, runner)
    assert result["exact_match"] == result["agg_metrics"] == 0.5
    written = json.loads((tmp_path / "test.json").read_text())
    assert [(r["question_id"], r["correct"]) for r in written] == [("q1", True), ("q2", False)]
    metrics = json.loads((tmp_path / "test_metrics.json").read_text())
    assert metrics["n_scored"] == metrics["n_expected"] == 2
    assert metrics["baselines"]["most_frequent_answer"]["exact_match"] == 0.5
    low, high = metrics["metrics"]["exact_match"]["ci95"]
    assert low <= 0.5 <= high


class ClaimingTask(PointTask):
    """Three items, two claims, one baseline with per-item values."""

    def score(self, records, dataset, model):
        own, family = {"a": 1.0, "b": 1.0, "c": 0.0}, {"a": 1.0, "b": 1.0}
        other = {"exact_match": {"a": 0.0, "b": 1.0, "c": 0.0}, "exact_match/x": {"a": 0, "b": 1}}
        return Scores(
            metrics={"exact_match": {"value": 2 / 3}, "exact_match/x": {"value": 1.0}},
            baselines={
                "nearest_box": {"exact_match": 1 / 3, "exact_match/x": 0.5},
                "chance": {"exact_match": 0.1},
            },
            agg_metrics=1.0,
            extra={"baseline_pool": {"used": 10, "whole": 20}},
            per_item={"exact_match": own, "exact_match/x": family},
            baseline_items={"nearest_box": other},
            claims=["exact_match", "exact_match/x"],
        )


@pytest.fixture
def claimed(runner, tmp_path):
    """Return a function that evaluates a data set and returns the metrics record."""

    def run(**attributes):
        dataset = SimpleNamespace(annotation=[{"instance_id": i} for i in "abc"], **attributes)
        records = [{"instance_id": i} for i in "abc"]
        task = ClaimingTask(OmegaConf.create({"seed": 1}))
        task.after_evaluation(records, "dev_test", "best", dataset, None, runner)
        return json.loads((tmp_path / "dev_test_metrics.json").read_text())

    return run


def test_claims_are_compared_with_the_baselines_item_by_item(claimed, tmp_path):
    record = claimed(data_version={"name": "bricks", "version": 2, "split_file_sha256": "ab"})
    assert record["claims"] == {"exact_match": 3, "exact_match/x": 2}
    whole, family = record["comparisons"].values()
    assert whole["nearest_box"]["difference"] == pytest.approx(1 / 3)
    assert (whole["nearest_box"]["n"], family["nearest_box"]["n"]) == (3, 2)
    assert record["data"]["version"] == 2
    assert record["baseline_pool"] == {"used": 10, "whole": 20}
    assert "baseline_pool" not in record["extra"]
    items = json.loads((tmp_path / "dev_test_baseline_items.json").read_text())
    assert items["nearest_box"]["exact_match"] == {"a": 0.0, "b": 1.0, "c": 0.0}


def test_a_split_under_a_control_is_named_and_compared_with_nothing(claimed):
    record = claimed(alteration="box_shell")
    assert (record["alteration"], record["comparisons"], record["data"]) == ("box_shell", {}, None)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (["q1"], "q2"),
        (["q1", "q2", "q2"], "duplicate"),
        (["q1", "q2", "q9"], "q9"),
    ],
)
def test_wrong_ids_are_named_and_nothing_is_written(task, runner, tmp_path, answers, message):
    records = [record(name, "red", "red") for name in answers]
    with pytest.raises(EvaluationError, match=message):
        task.after_evaluation(records, "test", "best", Questions(), None, runner)
    assert list(tmp_path.iterdir()) == []


def test_training_names_the_epoch_in_the_files(task, runner, tmp_path):
    runner.evaluate_only = False
    records = [record("q1", "red", "red"), record("q2", "red", "red")]
    task.after_evaluation(records, "val", 3, Questions(), None, runner)
    assert (tmp_path / "val_epoch3_metrics.json").is_file()


def test_captions_carry_their_baselines(runner, tmp_path):
    task = PointCaptioningTask(OmegaConf.create({"seed": 1}))
    task.train_captions = ["a red brick", "a blue plate"]
    task.train_embeds = np.eye(2, dtype=np.float32)[:, None]
    records = [
        {"image_id": "1", "2d_caption": "a red brick", "caption": "a red brick"},
        {"image_id": "2", "2d_caption": "a blue plate round", "caption": "a blue plate"},
    ]
    for row, entry in enumerate(records):
        entry["embedding"] = np.eye(2, dtype=np.float32)[row][None]
    dataset = SimpleNamespace(annotation=[{"instance_id": "1"}, {"instance_id": "2"}])
    task.after_evaluation(records, "test", "best", dataset, None, runner)
    written = json.loads((tmp_path / "test.json").read_text())
    assert all(set(entry) == {"image_id", "2d_caption", "caption"} for entry in written)
    metrics = json.loads((tmp_path / "test_metrics.json").read_text())
    # The model wrote what the nearest training object's caption says: the scores are equal.
    ours = metrics["metrics"]["cider"]["value"]
    assert metrics["baselines"]["nearest_in_own_embedding"]["cider"] == pytest.approx(ours)


class Retriever:
    """Writes one caption; two texts are retrieved for each object."""

    abilities = (Captioner, TextRetriever)

    def generate(self, samples, **settings):
        return ["a brick"] * len(samples["instance_id"])

    def retrieved_captions(self, batch):
        return [["a red brick", "a tile"], ["a blue plate", "a tile"]]


@pytest.mark.parametrize("source", ["generated", "retrieved"])
def test_the_first_retrieved_text_is_a_baseline_or_the_caption(runner, tmp_path, source):
    run = {"seed": 1, "caption_source": source, "own_embedding_baseline": False}
    task = PointCaptioningTask(OmegaConf.create(run))
    dataset = SimpleNamespace(annotation=[{"instance_id": "1"}, {"instance_id": "2"}])
    task.before_evaluation(Retriever(), dataset)
    samples = {"instance_id": ["1", "2"], "caption": ["a red brick", "a blue plate round"]}
    records = task.valid_step(Retriever(), samples)
    task.after_evaluation(records, "test", "best", dataset, None, runner)
    captions = [entry["caption"] for entry in json.loads((tmp_path / "test.json").read_text())]
    copied = ["a red brick", "a blue plate"]
    assert captions == (copied if source == "retrieved" else ["a brick", "a brick"])
    metrics = json.loads((tmp_path / "test_metrics.json").read_text())
    ours, first = metrics["metrics"]["cider"]["value"], metrics["baselines"]["first_retrieved_text"]
    assert (first["cider"] == pytest.approx(ours)) == (source == "retrieved")


def test_a_model_without_retrieved_texts_cannot_copy_them():
    with pytest.raises(ConfigError, match="retrieves no texts"):
        first_texts([["a brick"], []])
    run = OmegaConf.create({"caption_source": "retrieved"})
    assert PointCaptioningTask(run).needed_abilities()[TextRetriever] == "run.caption_source"


def test_equal_captions_are_each_others_positives():
    assert same_caption_groups(["a", "b", "a"]) == [[0, 2], [1], [0, 2]]


def test_named_prediction_lists_the_best_five():
    scores = np.array([0.1, 0.9, 0.3, 0.2, 0.8, 0.0])
    named = named_prediction({"instance_id": "x", "label": 4, "scores": scores}, list("abcdef"))
    assert named == {
        "instance_id": "x",
        "label": "e",
        "prediction": "b",
        "top_5": ["b", "e", "c", "d", "a"],
    }
