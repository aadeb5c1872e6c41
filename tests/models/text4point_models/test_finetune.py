"""What fine-tuned models share: prompts, labels, score map, padding, starting points."""

from __future__ import annotations

import logging

import pytest
import torch
from torch.nn import functional as F

from lavis.common.errors import CheckpointError, ConfigError, DataError
from lavis.common.model_state import trainable_state
from lavis.datasets.samples import select
from lavis.models.text4point_models.finetune import CosineScale, point_cross_entropy

KINDS = ("segmentation", "instances", "detection", "referring")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2])
def test_the_loss_reaches_every_trained_parameter(build, rooms, kind, size):
    model = build(kind).train()
    output = model(select(rooms, torch.arange(size)))
    assert output["loss"].isfinite()
    output["loss"].backward()
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    assert [n for n, p in named if p.grad is None] == []
    assert model.prompt.context.grad.any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keys", [{"learn_prompt": False}, {"text_query": False}])
def test_ablations_train(build, rooms, kind, keys):
    model = build(kind, **keys).train()
    model(rooms)["loss"].backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("kind", KINDS)
def test_without_its_weight_the_score_map_leaves_the_loss(build, rooms, kind):
    torch.manual_seed(0)
    losses = build(kind, map_weight=0.0).eval()(rooms)
    others = [v for n, v in losses.items() if n not in ("loss", "loss_map")]
    torch.testing.assert_close(losses["loss"], torch.stack(others).sum())


def test_a_fresh_learned_prompt_is_the_prompt_in_words(build):
    words = build("segmentation", learn_prompt=False).label_embeds(["chair", "floor lamp"])
    learned = build("segmentation").label_embeds(["chair", "floor lamp"])
    torch.testing.assert_close(learned, words)


def test_the_score_map_is_the_scaled_cosine_of_tokens_and_texts(build, rooms):
    model = build("segmentation").eval()
    with torch.no_grad():
        scene = model.read_scene(rooms)
        output = model.network(rooms["point_cloud"], scene.text, rooms["lengths"])
    embeds = torch.nn.functional.normalize(output.encoding.spread(output.token_embeds), dim=-1)
    torch.testing.assert_close(scene.score_map, embeds @ scene.text.T / 0.07)


@pytest.mark.parametrize(
    ("labels", "got"), [([], "[]"), (["bed", "bed"], "bed"), (["bed", " "], "bed")]
)
def test_labels_that_name_nothing_are_refused(build, labels, got):
    with pytest.raises(ConfigError, match=r"model\.labels") as caught:
        build("segmentation", labels=labels)
    assert got in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_label_outside_the_set_is_refused_by_scene(build, rooms, kind):
    rooms["semantic_label"][1, 0] = 3
    with pytest.raises(DataError, match="room_1") as caught:
        build(kind)(rooms)
    assert "model.labels" in str(caught.value)


def test_cross_entropy_is_the_mean_over_labelled_points():
    logits = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([[0, 2, -1, 1, -1], [-1] * 5])
    expected = torch.nn.functional.cross_entropy(logits[0, [0, 1, 3]], torch.tensor([0, 2, 1]))
    torch.testing.assert_close(point_cross_entropy(logits, labels), expected)
    none = point_cross_entropy(logits, torch.full((2, 5), -1))
    none.backward()
    assert none == 0
    assert not logits.grad.any()


@pytest.fixture
def checkpoint(build, tmp_path):
    """Return a function (kind, **keys) -> the checkpoint of a model with changed weights."""

    def save(kind: str, **keys) -> str:
        model = build(kind, **keys)
        for parameter in model.parameters():
            parameter.data += 0.5
        path = tmp_path / f"{kind}.pth"
        payload = {"model": trainable_state(model), "space": model.space}
        torch.save(payload, path)
        return str(path)

    return save


def test_pretrained_brings_the_network_and_parts_of_the_same_name(build, checkpoint, caplog):
    path = checkpoint("segmentation")
    with caplog.at_level(logging.INFO):
        model = build("detection", pretrained=path)
    state = torch.load(path, weights_only=True)["model"]
    for name, value in model.state_dict().items():
        if name.startswith(("network.", "prompt.", "map_scale.")):
            assert torch.equal(value, state[name]), name
    assert "vote_head" in caplog.text.partition("from scratch")[2]
    assert model.loaded_checkpoint == path


def test_a_network_of_other_sizes_is_refused(build, checkpoint):
    path = checkpoint("segmentation", text_query=False)
    with pytest.raises(CheckpointError, match="another network") as caught:
        build("detection", pretrained=path)
    assert "network.text_query" in str(caught.value) or "missing: network" in str(caught.value)


def test_finetuned_brings_everything_or_is_refused(build, checkpoint):
    path = checkpoint("referring")
    model, state = build("referring", finetuned=path), torch.load(path, weights_only=True)["model"]
    assert all(torch.equal(p, state[n]) for n, p in model.named_parameters() if p.requires_grad)
    with pytest.raises(CheckpointError, match="does not fit"):
        build("detection", finetuned=path)


def test_a_checkpoint_of_another_space_is_refused(build, checkpoint):
    path = checkpoint("segmentation")
    payload = torch.load(path, weights_only=True)
    torch.save(payload | {"space": "openclip/ViT-B-32"}, path)
    with pytest.raises(CheckpointError, match="another teacher"):
        build("segmentation", pretrained=path)


def test_an_absent_checkpoint_is_named(build):
    with pytest.raises(CheckpointError, match=r"model\.pretrained"):
        build("segmentation", pretrained="output/none.pth")


def test_cosines_of_a_linear_layer_equal_those_of_its_outputs():
    torch.manual_seed(0)
    layer, scale = torch.nn.Linear(32, 384), CosineScale(14.0)
    features, text = 3 * torch.randn(2, 500, 32), F.normalize(torch.randn(37, 384), dim=-1)
    text.requires_grad_()
    features[0, :5] = 0  # padding
    weight = torch.randn(2, 500, 37)
    found = []
    for logits in (scale.of_linear(layer, features, text), scale(layer(features), text)):
        parts = [*layer.parameters(), *scale.parameters(), text]
        found.append([logits, *torch.autograd.grad((logits * weight).sum(), parts)])
    for ours, direct in zip(*found):
        torch.testing.assert_close(ours, direct, rtol=1e-4, atol=1e-4 * float(direct.abs().max()))


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_balance_weighs_points_by_the_size_of_their_class(balance):
    torch.manual_seed(0)
    labels = torch.tensor([[0, 0, 0, 0, 1, -1]])
    logits = torch.randn(1, 6, 3)
    each = F.cross_entropy(logits[0, :5], labels[0, :5], reduction="none")
    weight = torch.tensor([4.0, 4.0, 4.0, 4.0, 1.0]) ** -balance
    expected = (each * weight).sum() / weight.sum()
    torch.testing.assert_close(point_cross_entropy(logits, labels, balance), expected)
