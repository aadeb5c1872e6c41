"""Objects of any file, and clear sentences about bad ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lavis.common.errors import DataError
from pointlang.objects import object_of_array, read_object, read_objects


def test_missing_colour_and_the_up_axis_are_said(files: Path) -> None:
    grey, red = read_objects([files / "grey.npy", files / "red.npy"])
    assert grey.notes == [
        "y is up (by the format; --up sets it)",
        "no colour in the file: grey 0.4 is used",
    ]
    assert red.notes == ["y is up (by the format; --up sets it)"]
    assert np.allclose(red.rgb, [1, 0, 0])
    assert read_object(files / "red.npy", up="z").notes == ["z is up (as given)"]


def test_up_is_turned_to_y(tmp_path: Path) -> None:
    points = np.random.default_rng(0).random((50, 3)) * [1, 2, 3]
    np.save(tmp_path / "a.npy", points)
    extent = np.ptp(points, axis=0)
    assert read_object(tmp_path / "a.npy").size == pytest.approx(extent, rel=1e-5)
    assert read_object(tmp_path / "a.npy", "z").size == pytest.approx(extent[[0, 2, 1]], rel=1e-5)


def test_mesh_without_colour_is_grey(tmp_path: Path) -> None:
    text = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\n"
    (tmp_path / "m.obj").write_text(text, encoding="utf-8")
    found = read_object(tmp_path / "m.obj", num_points=100)
    assert found.points.shape == (100, 6)
    assert "no colour in the file: grey 0.4 is used" in found.notes


def bad_files(folder: Path) -> dict[str, str]:
    """Write bad files; returns {name: part of the message}."""
    np.save(folder / "nan.npy", np.full((9, 3), np.nan))
    np.save(folder / "point.npy", np.zeros((9, 3)))
    (folder / "bare.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n", encoding="utf-8")
    (folder / "empty.ply").write_bytes(b"")
    (folder / "photo.jpg").write_bytes(b"\xff\xd8")
    (folder / "scene.blend").write_bytes(b"BLENDER")
    (folder / "folder.ply").mkdir()
    with open(folder / "large.ply", "wb") as stream:
        stream.truncate(2**31)
    return {
        "nan.npy": "holds no object",
        "point.npy": "holds no object",
        "bare.obj": "holds no object",
        "empty.ply": "holds no object",
        "photo.jpg": "format is not read",
        "scene.blend": "export it as .glb",
        "folder.ply": "a folder",
        "large.ply": "2.0 GiB",
        "absent.ply": "File not found",
    }


def test_bad_files_are_named_with_a_reason(tmp_path: Path) -> None:
    for name, message in bad_files(tmp_path).items():
        with pytest.raises(DataError, match=message) as caught:
            read_object(tmp_path / name)
        assert name in str(caught.value)


@pytest.mark.parametrize(
    "points", [np.zeros((5, 4)), np.zeros((5, 3)), np.full((5, 3), np.inf), np.zeros(3)]
)
def test_arrays_that_are_no_cloud(points: np.ndarray) -> None:
    with pytest.raises(DataError):
        object_of_array(points)
