"""Pictures of scenes: panels, legends, edges of boxes, pages that load nothing."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from lavis.evaluation.scenes.instances import InstancePrediction
from lavis.evaluation.scenes.pictures import (
    POINTS,
    box_edges,
    box_picture,
    class_colors,
    label_picture,
    mask_picture,
    scene_page,
    scenes_json,
    target_picture,
)

NAMES = ["wall", "chair <b>", "lamp"]


@pytest.fixture
def cloud():
    rng = np.random.default_rng(0)
    return np.c_[rng.uniform(-2, 2, (600, 3)), rng.random((600, 3))]


def count(panel):
    return len(base64.b64decode(panel["cloud"]["points"])) // 12


def test_labels_and_predictions_have_the_colours_of_the_legend(cloud):
    labels = np.repeat([0, 1, -1], 200)
    picture = label_picture("room", cloud, labels, np.zeros(600, int), NAMES)
    assert [p["name"] for p in picture["panels"]] == ["colours", "true labels", "predicted labels"]
    assert [name for name, _ in picture["legend"]] == ["wall", "chair <b>"]
    bytes_ = base64.b64decode(picture["panels"][2]["cloud"]["points"])
    n = len(bytes_) // 12
    shown = np.frombuffer(bytes_[6 * n : 9 * n], np.uint8).reshape(n, 3)
    red, green, blue = shown[0].tolist()
    assert picture["legend"][0][1] == f"#{red:02x}{green:02x}{blue:02x}"
    assert (shown == shown[0]).all()


def test_colours_of_classes_differ():
    colors = class_colors(60)
    distance = np.abs(colors[:, None] - colors[None]).sum(-1) + np.eye(60)
    assert distance.min() > 0.02
    assert ((colors >= 0) & (colors <= 1)).all()


def test_large_clouds_are_thinned_and_their_sides_more(cloud):
    rng = np.random.default_rng(1)
    big = rng.uniform(-2, 2, (30_000, 3))
    big[:20_000, 0] = 2.0  # a wall
    labels = np.zeros(len(big), int)
    picture = label_picture("room", big, labels, labels, NAMES)
    assert count(picture["panels"][0]) <= POINTS
    coordinates = np.frombuffer(
        base64.b64decode(picture["panels"][0]["cloud"]["points"])[: 6 * POINTS], "<i2"
    )
    assert (coordinates.reshape(-1, 3)[:, 0] > 0.95 * coordinates.max()).mean() < 0.4


def test_edges_of_a_turned_box_lie_on_it():
    box = np.array([[1.0, 0.5, -1.0, 2.0, 1.0, 0.6, 0.7]])
    edges = box_edges(box, np.array([[1.0, 0, 0]]))
    local = edges[:, :3] - box[0, :3]
    x = local[:, 0] * np.cos(0.7) - local[:, 2] * np.sin(0.7)
    z = local[:, 0] * np.sin(0.7) + local[:, 2] * np.cos(0.7)
    share = np.abs(np.c_[x, local[:, 1], z]) / (box[0, 3:6] / 2)
    assert (np.isclose(share, 1).sum(1) >= 2).all()  # on an edge two coordinates are extreme
    assert share.max() <= 1 + 1e-9
    assert box_edges(box[:0], np.zeros((0, 3))).shape == (0, 6)


def test_empty_predictions_are_drawn_as_nothing(cloud):
    none = InstancePrediction(np.zeros((0, 600), bool), np.zeros(0, int), np.zeros(0))
    picture = mask_picture("room", cloud, np.full(600, -1), none, NAMES)
    assert picture["legend"] == []
    boxes = np.zeros((0, 6)), np.zeros(0, int)
    empty = box_picture("room", cloud, boxes, (*boxes, np.zeros(0)), NAMES)
    assert empty["legend"] == []
    nothing = np.zeros(600, bool)
    assert len(target_picture("room", cloud[:, :3], nothing, nothing, "x")["panels"]) == 2


def test_masks_with_high_scores_lie_above(cloud):
    masks = np.stack([np.ones(600, bool), np.arange(600) < 300])
    found = InstancePrediction(masks, np.array([1, 2]), np.array([0.3, 0.9]))
    picture = mask_picture("room", cloud, np.zeros(600, int), found, NAMES)
    assert [name for name, _ in picture["legend"]] == ["lamp 0.90", "chair <b> 0.30"]
    low = InstancePrediction(masks, np.array([1, 2]), np.array([0.1, 0.1]))
    assert mask_picture("room", cloud, np.zeros(600, int), low, NAMES)["legend"] == []


def test_a_page_escapes_names_and_loads_nothing(cloud):
    labels = np.ones(600, int)
    pictures = [label_picture("</script>", cloud, labels, labels, NAMES)]
    page = scene_page("a <i>", pictures)
    assert "chair &lt;b&gt;" in page
    assert "a &lt;i&gt;" in page
    assert page.count("</script>") == 2
    assert "http" not in page.replace("http-equiv", "")
    assert " style=" not in page  # the policy forbids it
    assert json.loads(scenes_json(pictures)) == pictures
