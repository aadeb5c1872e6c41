"""Semantic segmentation: any labels, shares of the score map, padding, learning."""

from __future__ import annotations

import pytest
import torch

from lavis.common.errors import ConfigError


@pytest.mark.parametrize("labels", [["bed"], ["chair", "floor lamp", "grand piano", "wall"]])
def test_any_words_are_labels(build, rooms, labels):
    logits = build("segmentation").eval().segment_points(rooms, labels)
    assert logits.shape == (*rooms["point_cloud"].shape[:2], len(labels))
    assert logits.isfinite().all()


def test_without_labels_those_of_training_count(build, rooms):
    model = build("segmentation").eval()
    named = model.segment_points(rooms, list(model.class_names))
    assert torch.equal(model.segment_points(rooms), named)


def test_the_order_of_labels_orders_the_logits(build, rooms):
    model = build("segmentation", text_query=False).eval()
    one, other = (model.segment_points(rooms, names) for names in (["bed", "tv"], ["tv", "bed"]))
    torch.testing.assert_close(one, other.flip(-1))


@pytest.mark.parametrize("labels", [[], ["bed", "bed"], [" "]])
def test_labels_that_name_nothing_are_refused(build, rooms, labels):
    with pytest.raises(ConfigError, match="labels"):
        build("segmentation").segment_points(rooms, labels)


def test_padding_changes_nothing(build, rooms):
    model = build("segmentation").eval()
    alone = model.segment_points({"point_cloud": rooms["point_cloud"][:1, :80]})
    torch.testing.assert_close(model.segment_points(rooms)[:1, :80], alone)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_logits_mix_the_head_and_the_score_map(build, rooms, share):
    model = build("segmentation", map_share=share).eval()
    scene = model.read_scene(rooms)
    mixed = (1 - share) * model.label_logits(scene) + share * scene.score_map
    torch.testing.assert_close(model.segment_points(rooms), mixed.detach())


def test_it_learns_two_rooms(build, rooms):
    model = build("segmentation").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    history = []
    for _ in range(15):
        loss = model(rooms)["loss"]
        history.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert history[-1] < 0.5 * history[0]


def test_a_bonus_raises_only_names_outside_of_training(build, rooms):
    plain, raised = (build("segmentation", novel_bonus=bonus).eval() for bonus in (0.0, 2.5))
    raised.load_state_dict(plain.state_dict())
    known = plain.class_names[0]
    names = [known, "grand piano"]
    expected = plain.segment_points(rooms, names) + torch.tensor([0.0, 2.5])
    torch.testing.assert_close(raised.segment_points(rooms, names), expected)
    assert torch.equal(raised.segment_points(rooms), plain.segment_points(rooms))
    assert torch.equal(raised.segment_points(rooms, [known]), plain.segment_points(rooms, [known]))
