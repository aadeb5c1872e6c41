"""Views of the bricks in one file: deterministic, whole or absent, and refused when damaged."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from lavis.common.errors import DataError
from lavis.datasets.download_scripts.mesh_sources import in_unit_sphere
from lavis.datasets.download_scripts.prepare_bricks import prepare_bricks
from lavis.datasets.download_scripts.prepare_furniture import prepare_furniture
from lavis.datasets.download_scripts.render_views import main
from lavis.datasets.rendering.frame_store import FrameStore
from lavis.datasets.rendering.view_store import ViewStore, ViewWriter, encode_png
from tests.datasets.download_scripts.furniture_tree import write_models


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


def test_a_mesh_fills_the_unit_sphere_about_the_middle_of_its_box():
    vertices, radius = in_unit_sphere(np.array([[0.0, 0, 0], [40, 0, 0], [0, -80, 0]]))
    assert np.linalg.norm(vertices, axis=1).max() == pytest.approx(1)
    assert radius == pytest.approx(np.hypot(20, 40))


@pytest.fixture(scope="module")
def furniture(tmp_path_factory):
    """Boxes with blue sides and a red and green top."""
    models = write_models(tmp_path_factory.mktemp("data") / "furniture_models")
    return prepare_furniture(models.with_name("furniture"), 64, progress=False)


def rendered(furniture, folder, *further):
    options = ["--source", "furniture", "--folder", str(furniture), "--out", str(folder)]
    assert main([*options, "--views", "2", "--size", "48", "--limit", "2", *further]) == 0
    return folder / "views_2x48.zip", folder / "frames_2x48.zip"


def test_views_show_the_textures(furniture, tmp_path):
    store = ViewStore(rendered(furniture, tmp_path, "--workers", "0")[0])
    view = store.load(store.ids[0])[0].astype(int)
    red, green, blue = (view[..., i] > 100 for i in range(3))
    for seen in (red & ~green & ~blue, green & ~red & ~blue):
        assert seen.sum() > 30
    assert ((view[..., 2] > 60) & (view[..., 0] < 10) & (view[..., 1] < 10)).sum() > 100


def test_frames_give_depth_normals_and_ids_of_the_same_pixels(furniture, tmp_path):
    views, frames = rendered(furniture, tmp_path, "--frames", "--workers", "0")
    store, images = FrameStore(frames), ViewStore(views)
    name = images.ids[1]
    seen = np.isfinite(store.depth(name))
    assert (seen == (images.load(name) < 255).any(axis=-1)).all()
    assert (seen == (store.object_ids(name) == 0)).all()
    assert np.linalg.norm(store.normals(name)[seen], axis=-1) == pytest.approx(1, abs=0.02)
    for view, camera in enumerate(store.cameras):
        points, pixels = store.points(name, view)
        assert np.linalg.norm(points, axis=1).max() < 1.01
        again, _ = camera.project(points)
        assert np.abs(again - (pixels + 0.5)).max() < 1e-6
    metres = np.ptp(np.concatenate([store.points(name, v)[0] for v in range(2)]), axis=0)
    assert metres[1] * store.radius(name) == pytest.approx(1.0, abs=0.05)  # a box of one metre


def test_files_of_the_same_objects_and_cameras_are_kept(furniture, tmp_path):
    files = rendered(furniture, tmp_path / "a", "--frames", "--workers", "0")
    before = [(path.stat().st_mtime_ns, path.read_bytes()) for path in files]
    rendered(furniture, tmp_path / "a", "--frames", "--workers", "0")
    assert [(path.stat().st_mtime_ns, path.read_bytes()) for path in files] == before
    others = rendered(furniture, tmp_path / "b", "--frames", "--workers", "2")
    assert [path.read_bytes() for path in others] == [content for _, content in before]
    files[1].write_bytes(before[1][1][:500])  # damaged: both are made again
    rendered(furniture, tmp_path / "a", "--frames", "--workers", "0")
    assert files[1].read_bytes() == before[1][1]


def test_a_damaged_file_of_frames_is_refused(furniture, tmp_path):
    _, frames = rendered(furniture, tmp_path, "--frames", "--workers", "0")
    with pytest.raises(DataError, match="nobody"):
        FrameStore(frames).depth("nobody")
    frames.write_bytes(frames.read_bytes()[:600])
    with pytest.raises(DataError, match=r"frames_2x48\.zip"):
        FrameStore(frames)


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
