"""Views of the bricks in one file: deterministic, whole or absent, and refused when damaged."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from lavis.common.errors import DataError
from lavis.datasets.download_scripts.prepare_bricks import prepare_bricks
from lavis.datasets.download_scripts.render_bricks import brick_mesh, main
from lavis.datasets.rendering.view_store import ViewStore, ViewWriter, encode_png


@pytest.fixture(scope="module")
def bricks(tmp_path_factory):
    """A few prepared bricks."""
    return prepare_bricks(tmp_path_factory.mktemp("data") / "bricks", 64, limit=40, progress=False)


def test_views_of_every_object_are_deterministic(bricks, tmp_path):
    for name, workers in (("one", "0"), ("two", "2")):
        options = ["--folder", str(bricks), "--out", str(tmp_path / name), "--workers", workers]
        assert main([*options, "--views", "3", "--size", "32"]) == 0
    first, second = (tmp_path / name / "views_3x32.zip" for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    store = pickle.loads(pickle.dumps(ViewStore(first)))  # as a data worker gets it
    assert store.num_views == 3
    views = store.load(store.ids[0])
    assert views.shape == (3, 32, 32, 3)
    assert (views[:, 0, 0] == 255).all()
    assert (views < 255).any(axis=(1, 2, 3)).all()
    assert not (views[0] == views[1]).all()


def test_a_part_fills_the_unit_sphere_with_up_along_y():
    vertices = np.array([[0.0, 0, 0], [40, 0, 0], [0, -80, 0]])  # LDraw: up is -y
    mesh = brick_mesh(vertices, np.array([[0, 1, 2]]), "red")
    corners = mesh.triangles[0]
    assert np.linalg.norm(corners, axis=1).max() == pytest.approx(1)
    assert corners[2, 1] > corners[0, 1]


def test_a_folder_without_bricks_and_nothing_to_render_are_refused(bricks, tmp_path, capsys):
    assert main(["--folder", str(tmp_path)]) == 1
    assert main(["--folder", str(bricks), "--views", "0"]) == 1
    assert "--views 0" in capsys.readouterr().err


def test_damaged_and_uneven_files_are_refused(tmp_path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    with ViewWriter(tmp_path / "uneven.zip") as views:
        views.add("a", [encode_png(pixels)] * 2)
        views.add("b", [encode_png(pixels)])
    with pytest.raises(DataError, match="as many for every object"):
        ViewStore(tmp_path / "uneven.zip")
    (tmp_path / "cut.zip").write_bytes((tmp_path / "uneven.zip").read_bytes()[:60])
    for name in ("cut.zip", "absent.zip"):
        with pytest.raises(DataError, match=name):
            ViewStore(tmp_path / name)
    with ViewWriter(tmp_path / "broken.zip") as views:
        views.add("a", [encode_png(pixels)[:40]])
    with pytest.raises(DataError, match=r"a/0\.png"):
        ViewStore(tmp_path / "broken.zip").load("a")
    with pytest.raises(DataError, match=r"nobody/0\.png"):
        ViewStore(tmp_path / "broken.zip").load("nobody")
