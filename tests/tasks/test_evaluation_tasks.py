"""The evaluation tasks on stand-in models: modes, published protocols, extra files, directions."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from lavis.common.errors import ConfigError
from lavis.models.abilities import AnswerScorer, JointEmbedder, Reranker, check_abilities
from lavis.tasks.point_classification import PointClassificationTask
from lavis.tasks.point_generative_classification import PointGenerativeClassificationTask
from lavis.tasks.point_llm_protocol import PointLLMCaptioningTask
from lavis.tasks.point_qa import PointQATask, choices_of
from lavis.tasks.point_retrieval import CURVE_WEIGHTS, PointRetrievalTask
from lavis.tasks.point_task import PointTask
from tests.tasks.evaluating_runner import runner_in


def run_cfg(**keys):
    return OmegaConf.create({"seed": 1, "batch_size_eval": 2} | keys)


@pytest.fixture
def finish(tmp_path):
    """Return a function that scores records and returns the three files' content."""
    runner = runner_in(tmp_path)

    def run(task, records, dataset, model=None):
        task.after_evaluation(records, "test", "best", dataset, model, runner)
        names = ("test.json", "test_metrics.json", "test_items.json")
        paths = [tmp_path / name for name in names]
        return [json.loads(path.read_text()) for path in paths if path.is_file()]

    return run


class Questions:
    """Three test questions; training answers of their family."""

    annotation = [  # noqa: RUF012
        {"question_id": f"q{k}", "family": "color", "answer": answer, "question": "what color?"}
        for k, answer in enumerate(["red", "blue", "green"])
    ]

    def train_annotation(self):
        answers = ["red", "red", "blue", "green", "grey"]
        return [{"family": "color", "answer": a, "question": "what color?"} for a in answers]


class LikesBlue:
    """Scores answers by a fixed taste."""

    abilities = (AnswerScorer,)

    def score_answers(self, samples, candidates):
        taste = {"blue": -1.0, "red": -2.0, "green": -3.0}
        return [
            torch.tensor([[taste.get(answer, -9.0), 1.0] for answer in answers])
            for answers in candidates
        ]


def questions_batch():
    batch = {key: [e[key] for e in Questions.annotation] for key in Questions.annotation[0]}
    return batch | {"object_id": ["o"] * 3, "question_type": ["color"] * 3}


def test_ranking_answers_with_the_likeliest_training_answer(finish):
    task = PointQATask(run_cfg(qa_mode="rank", qa_candidates=3, answer_styles=["scanqa", "leo"]))
    task.before_evaluation(LikesBlue(), Questions())
    records = task.valid_step(LikesBlue(), questions_batch())
    assert records[0]["ranked"] == ["blue", "red", "green"]
    predictions, record, items = finish(task, records, Questions())
    assert [p["prediction"] for p in predictions] == ["blue"] * 3
    metrics = record["metrics"]
    assert metrics["exact_match"]["value"] == pytest.approx(1 / 3)
    assert metrics["scanqa/em_at_10"]["value"] == 1.0
    assert metrics["leo/refined_exact_match"]["value"] == pytest.approx(1 / 3)
    assert record["extra"]["per_question_type"]["color"]["n"] == 3
    assert record["baselines"]["blind_text_only"]["exact_match"] == pytest.approx(1 / 3)
    assert items["exact_match"] == {"q0": 0.0, "q1": 1.0, "q2": 0.0}


class SizedQuestions(Questions):
    """The same questions, asked about objects whose boxes are known."""

    def __init__(self):
        boxes = {"o": np.ones(3), "like o": np.ones(3), "larger": 2 * np.ones(3)}
        self.point_store = SimpleNamespace(box_sizes=lambda: boxes)

    def train_annotation(self):
        objects = ["larger", "larger", "like o", "larger", "larger"]
        return [
            entry | {"object_id": object_id, "question_type": "color"}
            for entry, object_id in zip(super().train_annotation(), objects)
        ]


def test_questions_have_a_baseline_that_knows_sizes_alone(finish):
    task, dataset = PointQATask(run_cfg(qa_mode="rank")), SizedQuestions()
    task.before_evaluation(LikesBlue(), dataset)
    records = task.valid_step(LikesBlue(), questions_batch())
    _, record, _ = finish(task, records, dataset)
    nearest = record["baselines"]["nearest_box"]["exact_match"]
    assert nearest == pytest.approx(1 / 3)  # "blue" for all three


def test_multiple_choice_has_its_chance(finish):
    task = PointQATask(run_cfg(qa_mode="choice", qa_candidates=2))
    task.before_evaluation(LikesBlue(), Questions())
    _, record, _ = finish(task, task.valid_step(LikesBlue(), questions_batch()), Questions())
    assert record["baselines"]["chance"]["choice_accuracy"] == 0.5
    assert 1 / 3 <= record["metrics"]["choice_accuracy"]["value"] <= 1.0


def test_choices_are_the_annotations_or_drawn_once():
    entry = Questions.annotation[0]
    drawn = [choices_of(entry, ["red", "blue", "green", "grey"], 3, 1, "") for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 3
    assert "red" in drawn[0]
    assert choices_of(entry | {"choices": ["red", "x"]}, [], 4, 1, "") == ["red", "x"]
    for bad in (entry | {"choices": ["x", "y"]}, entry):
        with pytest.raises(ConfigError, match="the key: question q0"):
            choices_of(bad, ["Red"], 4, 1, "the key")


def test_a_model_that_cannot_answer_is_refused_with_what_it_can():
    needed = PointQATask(run_cfg()).needed_abilities()
    with pytest.raises(ConfigError, match=r"Answerer(.|\n)*qa_mode=generate(.|\n)*AnswerScorer"):
        check_abilities(LikesBlue(), needed, "point_qa")
    check_abilities(LikesBlue(), PointQATask(run_cfg(qa_mode="rank")).needed_abilities(), "qa")


class Objects:
    """Four objects of two classes; also its own training split."""

    class_names = ("chair", "table")
    class_templates = None
    annotation = [  # noqa: RUF012
        {"instance_id": i, "label": k % 2, "category": "ab"[k % 2], "caption": f"a thing {i}"}
        for k, i in enumerate("wxyz")
    ]

    def train_labels(self):
        return [0, 1, 0, 1]

    def reference_dataset(self):
        return self

    def label_field(self, entry):
        return {"label": entry["label"]}

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.annotation[index]["label"]

    def collater(self, labels):
        return batch(labels)


def batch(labels):
    clouds = torch.tensor(labels, dtype=torch.float32)[:, None, None].repeat(1, 5, 3)
    return {
        "point_cloud": clouds,
        "label": torch.tensor(labels),
        "instance_id": [entry["instance_id"] for entry in Objects.annotation][: len(labels)],
        "caption": [entry["caption"] for entry in Objects.annotation][: len(labels)],
    }


class Clairvoyant:
    """Knows the class from the cloud, which is filled with it."""

    device = torch.device("cpu")

    def embed_texts(self, texts):
        """Embed prompts by the class that they name."""
        named = [[name in text for name in Objects.class_names] for text in texts]
        assert all(sum(row) == 1 for row in named)
        return torch.tensor(named, dtype=torch.float32)

    def embed(self, samples, modality):
        return torch.eye(2)[samples["point_cloud"][:, 0, 0].long()][:, None]  # [B,1,2]

    def generate(self, samples, prompt, **settings):
        assert prompt in ("What is this?", "Caption this 3D model in detail.")
        names = [Objects.class_names[int(c)] for c in samples["point_cloud"][:, 0, 0]]
        return [f"This is a {name}." for name in names]


def test_classification_writes_probes_and_a_picture(finish, tmp_path):
    task = PointClassificationTask(
        run_cfg(prompt_templates="ensemble", linear_probe=True, few_shot=["1"])
    )
    model, dataset = Clairvoyant(), Objects()
    task.before_evaluation(model, dataset)
    records = task.valid_step(model, batch([0, 1, 0, 1]))
    predictions, record, items = finish(task, records, dataset)
    assert "embedding" not in predictions[0]
    for name in ("top_1", "linear_probe/top_1", "few_shot_1/top_1"):
        assert record["metrics"][name]["value"] == 1.0
    assert len(record["extra"]["templates"]) > 20
    assert set(items["top_1"]) == set("wxyz")
    assert (tmp_path / "test_confusion.svg").read_text().startswith("<svg")


class TwoSided(Clairvoyant):
    """Clouds are sure of the class, views of class 0, and the joint vector of the other class."""

    modalities = ("point", "image", "joint")

    def embed(self, samples, modality):
        known = torch.eye(2)[samples["point_cloud"][:, 0, 0].long()]
        views = torch.tensor([0.8, 0.6]).expand_as(known)
        return {"point": known, "image": views, "joint": known.flip(1)}[modality]


@pytest.mark.parametrize(
    ("query", "scores"),
    [
        ("point", [[1, 0], [0, 1]]),
        ("image", [[0.8, 0.6], [0.8, 0.6]]),
        ("joint", [[0, 1], [1, 0]]),
        ("merged", [[1.8, 0.6], [0.8, 1.6]]),
    ],
)
def test_a_query_chooses_what_is_classified(finish, query, scores):
    task, model, dataset = PointClassificationTask(run_cfg(query=query)), TwoSided(), Objects()
    samples = batch([0, 1, 0, 1]) | {"image_embeds": torch.zeros(4, 1, 2)}
    dataset.collater = lambda labels: samples
    task.before_evaluation(model, dataset)
    records = task.valid_step(model, samples)
    assert records[0]["scores"].tolist() == pytest.approx(scores[0])
    assert records[1]["scores"].tolist() == pytest.approx(scores[1])
    _, record, _ = finish(task, records, dataset)
    assert record["extra"].get("query", "point") == query


@pytest.mark.parametrize(
    ("options", "modalities", "message"),
    [
        ({"query": "joint"}, ("point", "image"), r"model has no 'joint'[\s\S]*run\.query"),
        ({"query": "merged"}, ("point", "image"), r"data set has no 'image'[\s\S]*run\.query"),
        ({"query": "text"}, ("point", "text"), r"query"),
    ],
)
def test_a_query_without_its_input_is_refused(options, modalities, message):
    model = TwoSided()
    model.modalities = modalities
    with pytest.raises(ConfigError, match=message):
        PointClassificationTask(run_cfg(**options)).check_inputs(model, Objects())


def test_probes_are_of_clouds():
    task, dataset = PointClassificationTask(run_cfg(query="image", linear_probe=True)), Objects()
    dataset.collater = lambda labels: {"image_embeds": None}
    with pytest.raises(ConfigError, match="linear_probe"):
        task.check_inputs(TwoSided(), dataset)


def test_generated_words_are_matched_to_classes(finish, tiny_bert):
    task = PointGenerativeClassificationTask(run_cfg(sentence_encoder=tiny_bert))
    dataset = Objects()
    dataset.annotation = [
        dict(entry, object_id=entry["instance_id"]) for entry in dataset.annotation
    ]
    task.before_evaluation(Clairvoyant(), dataset)
    records = task.valid_step(Clairvoyant(), batch([0, 1, 0, 1]))
    predictions, record, _ = finish(task, records, dataset)
    assert predictions["prompt"] == "What is this?"
    assert predictions["results"][1]["matched_class"] == "table"
    assert record["metrics"]["generative_accuracy"]["value"] == 1.0
    assert record["metrics"]["named_a_class"]["value"] == 1.0
    assert record["baselines"]["chance"]["generative_accuracy"] == 0.5


def test_pointllm_task_writes_the_published_file(finish, tiny_bert):
    task = PointLLMCaptioningTask(run_cfg(sentence_encoder=tiny_bert))
    records = task.valid_step(Clairvoyant(), batch([0, 1, 0, 1]))
    predictions, record, items = finish(task, records, Objects())
    assert predictions["prompt"] == "Caption this 3D model in detail."
    assert set(predictions["results"][0]) == {"object_id", "ground_truth", "model_output"}
    assert 0 < record["metrics"]["pointllm/bleu_1"]["value"] < 1
    assert set(items["pointllm/rouge_l"]) == set("wxyz")


class Knower:
    """A JointEmbedder whose objects are near their own text, then near those of their class."""

    abilities = (JointEmbedder,)
    modalities = ("point", "text")
    device = torch.device("cpu")

    def embed(self, samples, modality):
        return pair_embeds()[["wxyz".index(i) for i in samples["instance_id"]]][:, None]

    def embed_texts(self, texts):
        return torch.eye(4)[["wxyz".index(text[-1]) for text in texts]]


def pair_embeds():
    return torch.eye(4) * 0.1 + torch.eye(2)[[0, 1, 0, 1]].repeat(1, 2)


class Loader(list):
    dataset = SimpleNamespace(annotation=Objects.annotation)
    sampler = range(4)


def retrieval_batch():
    captions = [entry["caption"] for entry in Objects.annotation]
    return {"instance_id": list("wxyz"), "text_input": captions, "image_embeds": pair_embeds()}


def test_objects_find_their_category_and_images_their_object(finish):
    asked = ["object_to_object", "image_to_object"]
    task = PointRetrievalTask(run_cfg(extra_directions=asked))
    records = task.evaluation(Knower(), Loader([retrieval_batch()]))
    _, record, items = finish(task, records, Objects(), Knower())
    for name in ("object_to_object", "image_to_object", "text_to_object"):
        assert record["metrics"][f"{name}/recall_at_1"]["value"] == 1.0
        assert record["baselines"]["chance"][f"{name}/recall_at_1"] < 0.5
    assert items["text_to_object/recall_at_1"] == dict.fromkeys("wxyz", 1.0)
    assert "k_test" not in record["extra"]  # this model does not re-rank
    assert "object_to_text_ptc/recall_at_1" not in record["metrics"]
    with pytest.raises(ConfigError, match="object_to_object'"):
        PointRetrievalTask(run_cfg(extra_directions=["object_to_objects"]))


class FakeStore:
    def load(self, object_id):
        return np.ones((8, 3), np.float32)

    def scale(self, object_id):
        return 1.0


def test_altered_splits_are_evaluated_in_the_same_launch():
    asked = {"corruptions": ["jitter:1", "noise"], "controls": ["no_size"]}
    run = run_cfg(evaluate=True, test_splits=["test"], **asked)
    split = SimpleNamespace(point_store=FakeStore(), annotation=[{"object_id": "a"}])
    datasets = {"bricks": {"test": split}}
    PointTask(run).add_altered_splits(datasets, run)
    assert list(datasets["bricks"]) == ["test", "test_jitter_1", "test_noise_3", "test_no_size"]
    assert list(run.test_splits) == list(datasets["bricks"])


@pytest.mark.parametrize("key", ["corruptions", "controls"])
def test_alterations_while_training_are_refused(key):
    run = run_cfg(evaluate=False, test_splits=["test"], **{key: ["all"]})
    with pytest.raises(ConfigError, match=f"{key} belong to an evaluation"):
        PointTask(run).add_altered_splits({}, run)


class Matcher(Knower):
    """Contrast puts a wrong pair first by 0.5; matching is right by 1."""

    abilities = (JointEmbedder, Reranker)

    def embed(self, samples, modality):
        eye = torch.eye(4)
        return eye + 1.5 * torch.roll(eye, 1, dims=1)

    def embed_for_matching(self, samples):
        return self.embed(samples, "point"), torch.arange(4.0)[:, None, None]

    def match_scores(self, point_tokens, texts):
        right = [float("wxyz"[int(t)] == text[-1]) for t, text in zip(point_tokens[:, 0, 0], texts)]
        return torch.tensor(right)

    def temperature(self):
        return torch.tensor(1.0)


def test_ptm_weight_is_chosen_from_a_curve_of_the_matched_pairs(finish):
    task = PointRetrievalTask(run_cfg(k_test=2))
    records = task.evaluation(Matcher(), Loader([retrieval_batch()]))
    _, record, _ = finish(task, records, Objects(), Matcher())
    curve = {entry.pop("ptm_weight"): entry for entry in record["extra"]["ptm_weight_curve"]}
    assert list(curve) == list(CURVE_WEIGHTS)
    assert set(curve[0.2].values()) == {0.0}
    assert set(curve[1.0].values()) == {1.0}
    assert record["extra"]["ptm_weight_best"] == 1.0
    assert record["extra"]["k_test"] == 2
    assert record["metrics"]["object_to_text_ptc/recall_at_1"]["value"] == 0.0


def test_candidates_of_a_model_that_cannot_rerank_are_refused():
    needed = PointRetrievalTask(run_cfg(k_test=4)).needed_abilities()
    with pytest.raises(ConfigError, match=r"Reranker(.|\n)*run\.k_test"):
        check_abilities(Knower(), needed, "point_retrieval")
    for options in ({}, {"k_test": 0}):
        needed = PointRetrievalTask(run_cfg(**options)).needed_abilities()
        check_abilities(Knower(), needed, "point_retrieval")
