"""Referring: masks of sentences, losses, targets that are not in view, bad sentences."""

from __future__ import annotations

import pytest
import torch

from lavis.common.errors import DataError
from lavis.models.text4point_models.referring import mask_losses


def test_each_sentence_has_a_mask_of_its_own(build, rooms):
    model = build("referring").eval()
    first = model.refer(rooms)
    assert first.shape == rooms["point_cloud"].shape[:2]
    rooms["text_input"][1] = "the wall"
    second = model.refer(rooms)
    torch.testing.assert_close(first[0], second[0])  # the width of the padding differs
    assert not torch.allclose(first[1], second[1])


def test_padding_of_room_and_sentence_changes_nothing(build, rooms):
    model = build("referring").eval()
    one = {"point_cloud": rooms["point_cloud"][:1, :80], "text_input": rooms["text_input"][:1]}
    torch.testing.assert_close(model.refer(rooms)[:1, :80], model.refer(one))


def test_losses_of_a_perfect_and_an_opposite_mask():
    target = torch.tensor([[True, False, False], [True, True, False]])
    right = mask_losses((target.float() - 0.5) * 60, target, None)
    wrong = mask_losses((0.5 - target.float()) * 60, target, None)
    assert max(right.values()) < 1e-6
    torch.testing.assert_close(wrong["loss_dice"], torch.tensor(1.0))


def test_a_target_out_of_view_counts_for_no_overlap():
    target = torch.tensor([[False] * 3, [True, False, False]])
    logits = torch.zeros(2, 3)
    dice = mask_losses(logits, target, None)["loss_dice"]
    torch.testing.assert_close(dice, torch.tensor(1 - 1 / 2.5))
    assert mask_losses(logits[:1], target[:1], None)["loss_dice"] == 0


def test_padding_is_not_judged():
    target, logits = torch.tensor([[True, False, False]]), torch.tensor([[3.0, -3.0, 50.0]])
    padded = mask_losses(logits, target, torch.tensor([2]))
    alone = mask_losses(logits[:, :2], target[:, :2], None)
    for name, value in alone.items():
        torch.testing.assert_close(padded[name], value)


@pytest.mark.parametrize("sentence", ["", "   "])
def test_an_empty_sentence_is_refused(build, rooms, sentence):
    rooms["text_input"][1] = sentence
    with pytest.raises(DataError, match=r"items \[1\]"):
        build("referring").refer(rooms)


@pytest.mark.parametrize("absent", ["target_instance", "instance_label"])
def test_a_batch_without_targets_is_refused(build, rooms, absent):
    del rooms[absent]
    with pytest.raises(DataError, match="target_instance"):
        build("referring")(rooms)


def test_sentences_of_one_scene_encode_it_once(build, rooms, monkeypatch):
    model = build("referring").eval()
    sentences = ["a chair", "the wall", "a bed"]
    rows = torch.tensor([0, 1, 0])
    batch = {
        "point_cloud": rooms["point_cloud"][rows],
        "object_id": ["first", "second", "first"],
        "text_input": sentences,
    }
    if "lengths" in rooms:
        batch["lengths"] = rooms["lengths"][rows]
    apart = model.refer({k: v for k, v in batch.items() if k != "object_id"})
    sizes = []
    encode = model.network.forward
    monkeypatch.setattr(
        model.network,
        "forward",
        lambda cloud, *a, **k: sizes.append(len(cloud)) or encode(cloud, *a, **k),
    )
    torch.testing.assert_close(model.refer(batch), apart)
    assert sizes == [2]


def test_gradients_of_sentences_of_one_scene(build, rooms):
    model = build("referring").eval()
    batch = {name: value[:1] for name, value in rooms.items() if name != "object_id"}
    twice = {
        name: [*value, *value] if isinstance(value, list) else torch.cat([value, value])
        for name, value in batch.items()
    }
    model(batch)["loss"].backward()
    alone = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model(twice | {"object_id": ["same", "same"]})["loss"].backward()
    for name, p in model.named_parameters():
        if name in alone:
            torch.testing.assert_close(p.grad, alone[name], msg=name, rtol=1e-3, atol=1e-6)
