"""Formats are known by their content; anything else is named with what is read."""

import io
import os

import numpy as np
import pytest
import torch

from lavis.common.errors import DataError
from lavis.datasets.readers.files import read_cloud


def test_content_decides_over_the_name(points, write, tmp_path):
    np.savez(tmp_path / "a.npz", xyz=points[0])
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    np.testing.assert_array_equal(read_cloud(tmp_path / "a.npy").xyz, points[0])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.glb", b"glTF\x02\0\0\0", "glTF mesh"),
        ("a.h5", b"\x89HDF\r\n", "HDF5"),
        ("a.las", b"LASF\0\0", "LAS header of 6"),
        ("a.pkl", b"\x80\x04]", "pickle exhausted"),
        ("a.bin", b"\x80\x04]", "pickle, which is never run"),
        ("a.npy", b"", "empty file"),
        ("a.obj", b"v 1 2 3\n", ".obj file"),
        ("a.bin", b"\0\0\x80?", ".bin file"),
        ("a.npz", b"PK\x05\x06" + bytes(18), "zip without"),
        ("a.txt", b"\xff\xfe\x00", "UnicodeDecodeError"),
    ],
)
def test_other_files_are_named_with_what_is_read(write, name, content, message):
    with pytest.raises(DataError, match=rf"(?s){message}.*\.npz, \.ply, \.pcd"):
        read_cloud(write(name, content))


def test_the_object_is_named_beside_the_file(tmp_path):
    with pytest.raises(DataError, match=r"object chair: .*b\.ply\n.*missing"):
        read_cloud(tmp_path / "b.ply", object_id="chair")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.ply")
    with pytest.raises(DataError, match="regular"):
        read_cloud(tmp_path / "a.ply")


def test_random_bytes_behind_every_start_are_data_errors(write):
    rng = np.random.default_rng(0)
    starts = [b"\x93NUMPY\x01\x00", b"ply\n", b"PK\x03\x04", b"# .PCD v0.7\n", b"1 2 3\n", b"\x80"]
    for suffix in (".npy", ".npz", ".ply", ".pcd", ".pt", ".txt"):
        for start in starts:
            path = write(f"a{suffix}", start + rng.integers(0, 256, 200).astype(np.uint8).tobytes())
            with pytest.raises(DataError):
                read_cloud(path)


def changed(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip, insert, remove or cut bytes, mostly in the header."""
    place = int(rng.integers(0, min(len(content), 500)))
    middle = [
        bytes(rng.integers(0, 256, 1).astype(np.uint8)) + content[place + 1 :],
        bytes(rng.integers(48, 58, 9).astype(np.uint8)) + content[place:],
        content[place + int(rng.integers(1, 30)) :],
        b"",
    ]
    return content[:place] + middle[rng.integers(0, 4)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".ply", ".pcd", ".txt"])
def test_changed_bytes_give_a_usable_cloud_or_a_data_error(points, write, suffix):
    rng, file = np.random.default_rng(0), io.BytesIO()
    lines = "\n".join(" ".join(map(repr, row)) for row in points[0].tolist()) + "\n"
    names = "".join(f"property double {n}\n" for n in "xyz")
    size = "WIDTH 40\nHEIGHT 1\nDATA ascii\n"
    texts = {
        ".ply": f"ply\nformat ascii 1.0\nelement vertex 40\n{names}end_header\n{lines}",
        ".pcd": f"FIELDS x y z\nSIZE 8 8 8\nTYPE F F F\n{size}{lines}",
        ".txt": lines,
    }
    if suffix == ".pt":
        torch.save(torch.from_numpy(points[0]), file)
    elif suffix in texts:
        file.write(texts[suffix].encode())
    else:
        (np.save if suffix == ".npy" else np.savez)(file, points[0])
    np.testing.assert_array_equal(read_cloud(write(f"a{suffix}", file.getvalue())).xyz, points[0])
    for _ in range(80):
        path = write(f"a{suffix}", changed(file.getvalue(), rng))
        try:
            assert np.isfinite(read_cloud(path).xyz).all()
        except DataError:
            continue
