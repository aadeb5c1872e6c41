"""AP, AP50 and AP25 against ScanNet's script in plain loops, and what is ignored."""

from __future__ import annotations

import numpy as np
import pytest

from lavis.common.errors import EvaluationError
from lavis.evaluation.scenes.instances import (
    InstancePrediction,
    instance_scores,
    match_instances,
)
from tests.evaluation.scenes.scannet_reference import scannet_instance_scores

NAMES = ["chair", "table", "lamp"]


def random_scene(rng, points=300, instances=6, predictions=12, classes=3):
    """Instances with classes, points without labels, and predictions that cover them in part."""
    instance = rng.integers(-1, instances, points)
    kind = rng.integers(0, classes, instances)
    semantic = np.where(instance >= 0, kind[instance], rng.integers(-1, classes, points))
    masks, labels = [], []
    for _ in range(predictions):
        target = rng.integers(0, instances)
        keep = (instance == target) & (rng.random(points) < rng.uniform(0.3, 1.1))
        masks.append(keep | (rng.random(points) < rng.uniform(0, 0.06)))
        labels.append(kind[target] if rng.random() < 0.8 else rng.integers(0, classes))
    scores = np.round(rng.random(predictions), 1)  # equal scores occur
    return semantic, instance, (np.array(masks), np.array(labels), scores)


def ours(scenes, least, classes=3):
    matches = [
        match_instances(semantic, instance, InstancePrediction(*found), classes, least)
        for semantic, instance, found in scenes
    ]
    return instance_scores(matches, [str(k) for k in range(len(scenes))], NAMES[:classes])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("least", [1, 45])
def test_scores_equal_scannets_script(seed, least):
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng) for _ in range(4)]
    found = ours(scenes, least)
    expected = scannet_instance_scores(scenes, 3, least)
    assert {k: v.value for k, v in found.values.items()} == pytest.approx(expected, abs=1e-9)
    own = [scannet_instance_scores([scene], 3, least)["ap_50"] for scene in scenes]
    kept = [value for value in own if np.isfinite(value)]
    assert list(found.items().values()) == pytest.approx(kept, abs=1e-9)


def test_the_weights_of_scenes_equal_repeated_scenes():
    """A bootstrap row is the score of the scenes as often as they were drawn."""
    rng = np.random.default_rng(3)
    scenes = [random_scene(rng) for _ in range(3)]
    from lavis.evaluation.scenes.resampling import scene_weights

    counts = scene_weights(3)[4].astype(int)  # the first resample
    repeated = [scene for scene, n in zip(scenes, counts, strict=True) for _ in range(n)]
    expected = scannet_instance_scores(repeated, 3, 1)["ap"]
    assert ours(scenes, 1).values["ap"].rows[4] == pytest.approx(expected, abs=1e-9)


def nothing(points=40):
    return np.zeros((0, points), bool), np.zeros(0, int), np.zeros(0)


def test_no_prediction_scores_zero_and_no_instance_is_undefined():
    semantic, instance = np.repeat([0, 1], 20), np.repeat([0, 1], 20)
    assert {v.value for v in ours([(semantic, instance, nothing())], 1).values.values()} == {0.0}
    empty = ours([(np.full(40, -1), np.full(40, -1), nothing())], 1)
    assert all(entry["value"] is None for entry in empty.metrics().values())


def test_predictions_of_ignored_points_are_no_mistake():
    """A mask on points without an instance counts neither way; one on a real object is false."""
    semantic, instance = np.repeat([0, -1], 20), np.repeat([0, -1], 20)
    right, void = semantic == 0, semantic == -1
    found = (np.array([right, void]), np.array([0, 0]), np.array([0.5, 0.9]))
    assert ours([(semantic, instance, found)], 1).values["ap"].value == pytest.approx(1.0)
    other = np.where(void, 1, semantic)  # the same points as an object of another class
    lower = ours([(other, np.where(void, 1, instance), found)], 1)
    assert lower.per_class["chair"]["ap"] < 1


@pytest.mark.parametrize(
    "found",
    [
        (np.ones((1, 39), bool), np.array([0]), np.array([0.5])),
        (np.ones((1, 40), bool), np.array([3]), np.array([0.5])),
        (np.ones((1, 40), bool), np.array([0]), np.array([np.nan])),
        (np.ones((2, 40), bool), np.array([0]), np.array([0.5])),
    ],
)
def test_masks_labels_and_scores_that_do_not_fit_are_refused(found):
    with pytest.raises(EvaluationError, match="instances do not fit"):
        ours([(np.zeros(40, int), np.zeros(40, int), found)], 1)
