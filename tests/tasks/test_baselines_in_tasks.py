"""Captioning, questions and classes with the strong baselines, on toy objects."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from lavis.evaluation.comparisons import compare_claims
from lavis.evaluation.qa import MIN_FAMILY
from lavis.tasks.point_captioning import PointCaptioningTask, full_reference
from lavis.tasks.point_classification import PointClassificationTask
from lavis.tasks.point_qa import PointQATask
from tests.evaluation.baselines.toys import ASKED, CLOUDS, ToyStore, records

RUN = OmegaConf.create({"seed": 1, "batch_size_eval": 2})
NAMES = ["ball", "brick", "plate"]


class Split:
    """Two evaluated objects; the training split is used up to a limit of one object."""

    class_names = NAMES
    class_templates = ("{}",)
    text_field = "caption"
    unit = "stud"

    def __init__(self) -> None:
        self.point_store = ToyStore(CLOUDS)
        self.annotation = [
            {"instance_id": i, "object_id": i, "caption": c, "category": k}
            for i, c, k in zip(ASKED, ["brick 2 x 6", "large ball"], ["brick", "ball"])
        ]

    def train_annotation(self):
        return records()

    def reference_dataset(self):
        limited = Split()
        limited.annotation = [{**records()[0], "instance_id": "brick24"}]
        return limited

    def __len__(self):
        return len(self.annotation)

    def __getitem__(self, index):
        return self.point_store.load(self.annotation[index]["object_id"])

    def collater(self, clouds):
        return {"point_cloud": torch.from_numpy(np.stack(clouds))}


class Model:
    """Embeds a cloud by its three edges."""

    device = torch.device("cpu")

    def embed(self, samples, modality):
        return samples["point_cloud"][..., :3].amax(1)[:, None]  # [B,1,3]

    def embed_texts(self, texts):
        return torch.eye(len(texts))


def check_claims(scores):
    """Every claim is the mean of its items, and is compared with every baseline that has it."""
    found = compare_claims(
        scores.claims, scores.metrics, scores.per_item, scores.baselines, scores.baseline_items
    )
    assert all("nearest_chamfer" in found[claim] for claim in scores.claims)
    assert scores.extra["baseline_pool"]["used"] == scores.extra["baseline_pool"]["whole"]


def caption_scores_of(dataset):
    task = PointCaptioningTask(RUN)
    task.before_evaluation(Model(), dataset)
    embeds = [np.array([[1.0, 0.6, 3.0]]), np.array([[2.5, 2.5, 2.5]])]
    rows = [
        {
            "image_id": e["instance_id"],
            "2d_caption": e["caption"],
            "caption": "brick",
            "embedding": x,
        }
        for e, x in zip(dataset.annotation, embeds)
    ]
    return task.score(rows, dataset, Model())


def test_captioning_baselines_copy_from_the_full_training_split():
    scores = caption_scores_of(Split())
    check_claims(scores)
    assert scores.claims == ["cider", "rouge_l"]
    assert scores.extra["baseline_pool"] == {"used": 4, "whole": 4}
    assert {"nearest_in_own_embedding", "consensus", "template"} <= set(scores.baselines)
    # "ball" against "large ball" is only found beyond the limit of one training object.
    assert scores.baseline_items["nearest_in_own_embedding"]["rouge_l"]["asked_ball"] > 0
    assert scores.metrics["vocabulary"]["value"] == 1
    assert len(full_reference(Split()).annotation) == 4


def test_without_cider_nothing_selects_a_checkpoint_and_the_reason_is_given():
    dataset = Split()
    for entry in dataset.annotation:
        entry["caption"] = "brick 2 x 6"  # equal references: every idf is 0
    scores = caption_scores_of(dataset)
    assert scores.agg_metrics is None
    assert scores.extra["unavailable"]["agg_metrics"] == "CIDEr is null"
    assert "idf" in scores.extra["unavailable"]["cider"]
    assert scores.claims == ["rouge_l"]
    known = caption_scores_of(Split())
    values = [known.metrics[name]["value"] for name in ("cider", "bleu_4")]
    assert known.agg_metrics == sum(values)
    assert "agg_metrics" not in known.extra["unavailable"]


def test_altered_splits_keep_the_baselines_of_the_split_itself():
    altered = Split()
    altered.alteration, altered.original_store = "blank_cloud", altered.point_store
    altered.point_store = SimpleNamespace()
    scores, own = caption_scores_of(altered), caption_scores_of(Split())
    assert "nearest_in_own_embedding" not in scores.baselines
    assert scores.baselines["nearest_chamfer"] == own.baselines["nearest_chamfer"]


def test_classification_baselines():
    task, dataset = PointClassificationTask(RUN), Split()
    task.before_evaluation(Model(), dataset)
    rows = [{"instance_id": i, "label": k, "scores": np.eye(3)[k]} for i, k in zip(ASKED, (1, 0))]
    scores = task.score(rows, dataset, Model())
    check_claims(scores)
    assert scores.claims == ["top_1"]
    assert scores.baselines["nearest_chamfer"]["top_1"] == 1.0
    assert scores.baselines["most_frequent_class"]["top_1"] == 0.5
    assert scores.baselines["chance"]["top_1"] == pytest.approx(1 / 3)


class Questions(Split):
    """MIN_FAMILY questions about categories, and one about the size."""

    def __init__(self) -> None:
        super().__init__()
        ids = [f"q{k}" for k in range(MIN_FAMILY)]
        self.annotation = [self.question(i, ASKED[0], "category", "brick") for i in ids]
        size = self.question("size", ASKED[0], "stud_dimensions", "6 x 2")
        self.annotation.append({**size, "answers": ["6 x 2", "2 x 6"]})

    @staticmethod
    def question(name, object_id, kind, answer):
        words = {"question_id": name, "object_id": object_id, "question": f"what {kind}?"}
        return {**words, "question_type": kind, "family": kind, "answer": answer}

    def train_annotation(self):
        return [
            self.question(e["object_id"], e["object_id"], "category", e["category"])
            for e in records()
        ]


def test_questions_with_several_answers_and_a_rare_family():
    task, dataset = PointQATask(RUN), Questions()
    rows = [{**e, "prediction": "2 x 6"} for e in dataset.annotation]
    del rows[-1]["answers"]  # read from the annotation
    scores = task.score(rows, dataset, Model())
    check_claims(scores)
    assert scores.claims == ["exact_match", "exact_match/category"]
    assert scores.per_item["exact_match"]["size"] == 1.0
    assert scores.metrics["exact_match/rare"]["value"] == 1.0
    assert scores.metrics["exact_match/stud_dimensions"]["value"] is None
    assert "1 questions" in scores.extra["unavailable"]["exact_match/stud_dimensions"]
    assert scores.baselines["rounded_box"]["exact_match/rare"] == 1.0
    assert set(scores.baseline_items["nearest_box"]["exact_match/category"]) == set(
        scores.per_item["exact_match/category"]
    )


def test_several_answers_travel_with_the_record():
    task = PointQATask(RUN)
    model = SimpleNamespace(answer=lambda samples, **settings: ["2 x 6", "brick"])
    columns = {"question_id": ["a", "b"], "answer": ["6 x 2", "brick"], "family": ["s", "c"]}
    samples = {**columns, "answers": [["6 x 2", "2 x 6"], ["brick"]]}
    rows = task.valid_step(model, samples)
    assert [row["answers"] for row in rows] == samples["answers"]


def test_zero_shot_means_that_no_training_text_names_a_class():
    from lavis.tasks.point_classification import protocol

    train = [{"caption": "brick with two fences", "category": "brick"}]
    assert protocol(["brick", "cone"], train) == "prompted"
    assert protocol(["fence"], train) == "prompted"
    assert protocol(["cone", "rick"], train) == "zero_shot"
    assert protocol(["cone"], []) == "zero_shot"
