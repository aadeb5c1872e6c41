"""Declared abilities agree with methods, for every registered model; the table is up to date."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest
import torch
from lavis.common.registry import registry
from omegaconf import OmegaConf

from lavis.common.errors import ConfigError
from lavis.evaluation.ability_table import PATH, ability_page
from lavis.models.abilities import (
    ABILITIES,
    Answerer,
    AnswerScorer,
    Captioner,
    Detector,
    Embedder,
    InstanceSegmenter,
    JointEmbedder,
    ReferringSegmenter,
    Reranker,
    SceneSegmenter,
    can,
    check_abilities,
    members,
)
from lavis.tasks.embedding import similarity
from lavis.tasks.modality_retrieval import ModalityRetrievalTask, rank_modalities
from lavis.tasks.point_classification import PointClassificationTask, class_embeddings
from lavis.tasks.point_retrieval import PointRetrievalTask, rank_pairs

# Other tests register models of their own.
MODELS = sorted(
    name
    for name in registry.list_models()
    if registry.get_model_class(name).__module__.startswith("lavis.models.")
)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("ability", ABILITIES, ids=lambda ability: ability.__name__)
def test_a_model_declares_what_it_has_the_members_of(name, ability):
    model = registry.get_model_class(name)
    has = all(hasattr(model, member) for member in members(ability))
    assert can(model, ability) == has


@pytest.mark.parametrize("name", MODELS)
def test_methods_take_the_arguments_of_the_protocol(name):
    model = registry.get_model_class(name)
    for ability in (a for a in ABILITIES if can(model, a)):
        for member in members(ability) - {"modalities", "class_names"}:
            wanted = list(inspect.signature(getattr(ability, member)).parameters)
            own = list(inspect.signature(getattr(model, member)).parameters)
            positional = [p for p in wanted if p not in ("args", "kwargs")]
            assert len(own) >= len(positional), (ability, member)


def test_an_ability_includes_those_it_extends():
    joint = SimpleNamespace(abilities=(JointEmbedder,))
    assert can(joint, Embedder)
    assert not can(SimpleNamespace(abilities=(Embedder,)), JointEmbedder)
    assert not can(torch.nn.Linear(1, 1), Embedder)
    assert members(JointEmbedder) == {"modalities", "embed", "embed_texts"}


def test_a_missing_ability_is_named_with_its_key_and_what_the_model_can():
    model = registry.get_model_class("ulip_text")
    check_abilities(model, {JointEmbedder: "run.task"}, "point_retrieval")
    with pytest.raises(ConfigError) as refused:
        check_abilities(model, {Answerer: "run.qa_mode=generate"}, "the task point_qa")
    for part in ("UlipText", "Answerer", "point_qa", "run.qa_mode=generate", "JointEmbedder"):
        assert part in str(refused.value)


def test_the_table_in_the_docs_is_up_to_date(repo_root):
    assert (repo_root / PATH).read_text(encoding="utf-8") == ability_page()


@pytest.mark.parametrize("name", MODELS)
def test_the_abilities_of_every_model_work(build_model, batch, captions, name):
    model = build_model(name).eval()
    asked = batch | {"question": ["which color?"] * 4}
    if can(model, Embedder):
        with pytest.raises(ConfigError, match="does not embed 'smell'"):
            model.embed(batch, "smell")
    for modality in model.modalities if can(model, Embedder) else ():
        embeds = model.embed(batch, modality)
        assert embeds.shape[0] == 4
        if can(model, JointEmbedder):
            torch.testing.assert_close(embeds.norm(dim=-1), torch.ones(embeds.shape[:-1]))
            assert model.embed_texts(captions).shape == (4, embeds.shape[-1])
    if can(model, Reranker):
        _, tokens = model.embed_for_matching(batch)
        assert model.match_scores(tokens, captions).shape == (4,)
        assert model.temperature() > 0
    if can(model, Captioner):
        assert len(model.generate(batch, num_beams=1, max_length=4)) == 4
    if can(model, Answerer):
        assert len(model.answer(asked, max_len=4)) == 4
    if can(model, AnswerScorer):
        scores = model.score_answers(asked, [["red", "blue"]] * 4)
        assert [tuple(rows.shape) for rows in scores] == [(2, 2)] * 4
    if can(model, SceneSegmenter):
        known = len(model.class_names)
        assert model.segment_points(batch).shape == (4, 64, known)
        assert model.segment_points(batch, ["a", "b"]).shape == (4, 64, 2)
    if can(model, InstanceSegmenter):
        assert [found["masks"].shape[1] for found in model.segment(batch)] == [64] * 4
    if can(model, Detector):
        assert {found["boxes"].shape[1] for found in model.detect(batch)} <= {6, 7}
    if can(model, ReferringSegmenter):
        assert model.refer(batch).shape == (4, 64)


@pytest.mark.parametrize(
    "name", [name for name in MODELS if can(registry.get_model_class(name), JointEmbedder)]
)
def test_retrieval_and_classification_serve_every_joint_embedder(
    build_model, batch, captions, name
):
    model, run = build_model(name).eval(), OmegaConf.create({"seed": 0})
    batch["instance_id"] = list("dcba")
    retrieval, pairing = PointRetrievalTask(run), ModalityRetrievalTask(run)
    for task in (retrieval, pairing, PointClassificationTask(run)):
        check_abilities(model, task.needed_abilities(), task.name)
    retrieval.evaluation(model, [batch])
    pairing.modalities = list(model.modalities)
    pairing.evaluation(model, [batch])
    assert retrieval.pairs.ids == list("abcd")
    assert retrieval.pairs.texts == captions[::-1]
    assert bool(retrieval.pairs.candidates) == can(model, Reranker)
    results, _ = rank_pairs(retrieval.pairs, [[row] for row in range(4)], 0.2)
    others = rank_modalities(pairing.gallery)
    for direction, pair in (
        ("object_to_text", "point_to_text"),
        ("text_to_object", "text_to_point"),
    ):
        assert set(results[direction].ranks) <= {1, 2, 3, 4}
        assert (others[pair].scores.ranks == results[f"{direction}_ptc"].ranks).all()
    embeds = class_embeddings(model, ["brick", "plate"], ["{}", "a {}"])
    torch.testing.assert_close(embeds.norm(dim=-1), torch.ones(2))
    assert similarity(model.embed(batch, "point"), embeds).shape == (4, 2)
