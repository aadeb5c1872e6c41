"""Labelled clouds as PLY and as page."""

from __future__ import annotations

import numpy as np
import pytest

from lavis.common.errors import ConfigError, DataError
from lavis.datasets.readers.files import read_cloud
from lavis.evaluation.scenes.labelled import write_labelled

NAMES = ["bed", "floor  lamp\n"]


@pytest.fixture
def cloud():
    rng = np.random.default_rng(0)
    return np.c_[rng.uniform(-1, 1, (50, 3)), rng.random((50, 3))]


def test_a_ply_holds_points_colours_and_names(cloud, tmp_path):
    label = (cloud[:, 1] > 0).astype(int)
    path = write_labelled(tmp_path / "room.ply", cloud, label, NAMES)
    assert b"comment label 1 floor lamp\n" in path.read_bytes()
    again = read_cloud(path)
    assert again.xyz == pytest.approx(cloud[:, :3], abs=1e-6)
    assert len(np.unique(again.rgb, axis=0)) == 2
    assert (again.fields["label"] == label).all()


@pytest.mark.parametrize("columns", [3, 6])
def test_a_page_shows_the_cloud_beside_its_labels(cloud, tmp_path, columns):
    label = np.zeros(50, int)
    page = write_labelled(tmp_path / "room.html", cloud[:, :columns], label, NAMES).read_text()
    assert page.count("<canvas") == 2
    assert "bed" in page


@pytest.mark.parametrize("label", [np.zeros(49, int), np.full(50, 2), np.full(50, -1)])
def test_every_point_needs_a_known_label(cloud, tmp_path, label):
    with pytest.raises(DataError, match="label per point"):
        write_labelled(tmp_path / "room.ply", cloud, label, NAMES)


def test_another_ending_is_refused(cloud, tmp_path):
    with pytest.raises(ConfigError, match=r"room\.obj"):
        write_labelled(tmp_path / "room.obj", cloud, np.zeros(50, int), NAMES)
