"""Labels of one cloud by any words; PLY and page."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lavis.common.errors import ConfigError, DataError
from lavis.datasets.readers.files import read_cloud
from lavis.evaluation.scenes.segmenting import segment_cloud, write_segmented
from lavis.models.abilities import SceneSegmenter


class ByHeight:
    """Low points are the first label, high ones the last."""

    abilities = (SceneSegmenter,)
    class_names = ("floor", "lamp")
    device = torch.device("cpu")

    def segment_points(self, batch, labels=None):
        assert batch["point_cloud"].dtype == torch.float32
        names = self.class_names if labels is None else labels
        logits = torch.zeros(*batch["point_cloud"].shape[:2], len(names))
        logits[..., -1] = batch["point_cloud"][..., 1] * 4
        return logits


@pytest.fixture
def cloud():
    rng = np.random.default_rng(0)
    return np.c_[rng.uniform(-1, 1, (50, 3)), rng.random((50, 3))]


def test_labels_are_words_with_probabilities(cloud):
    found = segment_cloud(ByHeight(), cloud, ["bed", "floor lamp"])
    assert (found.label == (cloud[:, 1] > 0)).all()
    assert ((found.score >= 0.5) & (found.score <= 1)).all()
    assert found.counts == {"bed": 50 - found.label.sum(), "floor lamp": found.label.sum()}
    assert segment_cloud(ByHeight(), cloud[:, :3]).labels == ["floor", "lamp"]


def test_a_ply_holds_points_colours_and_words(cloud, tmp_path):
    found = segment_cloud(ByHeight(), cloud, ["bed", "floor lamp"])
    path = write_segmented(found, cloud, tmp_path / "room.ply")
    assert b"comment label 1 floor lamp\n" in path.read_bytes()
    again = read_cloud(path)
    assert again.xyz == pytest.approx(cloud[:, :3], abs=1e-6)
    assert len(np.unique(again.rgb, axis=0)) == 2
    assert (again.fields["label"] == found.label).all()


def test_a_page_shows_the_cloud_beside_its_labels(cloud, tmp_path):
    found = segment_cloud(ByHeight(), cloud)
    page = write_segmented(found, cloud, tmp_path / "room.html").read_text()
    assert page.count("<canvas") == 2
    assert "lamp" in page


@pytest.mark.parametrize("labels", [[], ["bed", "bed"]])
def test_words_have_to_be_distinct(cloud, labels):
    with pytest.raises(ConfigError, match="distinct words"):
        segment_cloud(ByHeight(), cloud, labels)


def test_unusable_clouds_models_and_endings_are_refused(cloud, tmp_path):
    with pytest.raises(DataError):
        segment_cloud(ByHeight(), cloud[:0])
    with pytest.raises(DataError, match="room"):
        segment_cloud(ByHeight(), np.full((4, 3), np.nan), name="room")
    with pytest.raises(ConfigError, match="SceneSegmenter"):
        segment_cloud(object(), cloud)
    with pytest.raises(ConfigError, match=r"room\.obj"):
        write_segmented(segment_cloud(ByHeight(), cloud), cloud, tmp_path / "room.obj")
