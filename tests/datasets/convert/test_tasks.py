"""One file: deterministic bytes, kept units, and a reason for every file that cannot be used."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from lavis.datasets.convert.tasks import Converted, Job, convert_file, convert_piece, read_piece

BOX = trimesh.creation.box((4, 2, 1))


def job(path: Path, **options) -> Job:
    return Job(path.stem, str(path), str(path.parent), **{"num_points": 500, **options})


def points(result: Converted) -> np.ndarray:
    """Return the points in the user's unit, about the middle of the box."""
    return result.xyz / 32767 * result.facts["scale"]


def test_units_size_and_up_axis_are_kept(tmp_path: Path) -> None:
    BOX.export(tmp_path / "a.stl")
    result = convert_file(job(tmp_path / "a.stl"))
    assert result.facts["up"] == "z"
    assert result.facts["size"] == pytest.approx([4, 1, 2])
    np.testing.assert_allclose(np.ptp(points(result), axis=0), [4, 1, 2], atol=0.1)
    assert np.abs(points(result)).max(axis=0) == pytest.approx([2, 0.5, 1], abs=0.05)
    assert not result.facts["has_color"]
    assert (result.rgb == 102).all()


def test_the_place_of_a_scan_is_kept_apart_in_full_precision(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    xyz = rng.random((300, 3)) * [3, 2, 1] + [500_000, 5_400_000, 30]
    np.save(tmp_path / "a.npy", xyz)
    result = convert_file(job(tmp_path / "a.npy", up="z"))
    back = points(result) + result.facts["centre"]
    found = np.stack([back[:, 0], -back[:, 2], back[:, 1]], 1)  # up is z again
    assert cKDTree(xyz).query(found)[0].max() < 2e-4
    assert len(set(cKDTree(xyz).query(found)[1])) == 300


@pytest.mark.parametrize("count", [40, 500, 900])
def test_clouds_keep_their_points_up_to_the_limit(tmp_path: Path, count: int) -> None:
    cloud = np.random.default_rng(0).random((count, 6)).astype(np.float32)
    np.save(tmp_path / "a.npy", cloud)
    result = convert_file(job(tmp_path / "a.npy"))
    assert len(result.xyz) == len(result.rgb) == result.facts["num_points"] == min(count, 500)
    assert result.facts["points_in_file"] == count
    assert result.facts["has_color"]


def test_the_same_job_gives_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    BOX.export(tmp_path / "a.glb")
    (tmp_path / "b.ply").write_text("no")
    jobs = [job(tmp_path / "a.glb"), job(tmp_path / "b.ply")]
    piece = convert_piece(jobs)
    assert convert_piece(pickle.loads(pickle.dumps(jobs))) == piece
    found = read_piece(io.BytesIO(piece))
    assert [result.object_id for result in found] == ["a", "b"]
    alone = read_piece(io.BytesIO(convert_piece(jobs[:1])))[0]
    np.testing.assert_array_equal(alone.xyz, found[0].xyz)
    assert alone.facts == found[0].facts


def test_seed_and_id_decide_the_points_and_the_number_of_points_the_length(tmp_path: Path) -> None:
    BOX.export(tmp_path / "a.glb")
    first = convert_file(job(tmp_path / "a.glb"))
    assert len(convert_file(job(tmp_path / "a.glb", num_points=7)).xyz) == 7
    assert not np.array_equal(first.xyz, convert_file(job(tmp_path / "a.glb", seed=1)).xyz)
    (tmp_path / "a.glb").rename(tmp_path / "b.glb")
    other = convert_file(job(tmp_path / "b.glb"))
    assert not np.array_equal(first.xyz, other.xyz)
    assert first.facts["duplicate"] == other.facts["duplicate"]


def zip_bomb() -> bytes:
    """An .npz that unpacks to 3 GB, from 3 MB."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("xyz.npy", "w") as m,
    ):
        head = {"descr": "<f8", "fortran_order": False, "shape": (125_000_000, 3)}
        np.lib.format.write_array_header_1_0(m, head)
        for _ in range(30):
            m.write(bytes(10**6))
    content = bytearray(file.getvalue())
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = (3_000_000_080).to_bytes(4, "little")
    return bytes(content)


class Code:
    """A pickle that runs a command."""

    def __reduce__(self) -> tuple:
        return subprocess.call, (["touch", os.environ["CONVERT_PWNED"]],)


def with_code(suffix: str) -> bytes:
    if suffix == ".pkl":
        return pickle.dumps(Code())
    file = io.BytesIO()
    if suffix == ".pt":
        import torch

        torch.save({"xyz": Code()}, file)
    elif suffix == ".npy":
        np.save(file, np.array([Code()], dtype=object), allow_pickle=True)
    else:
        np.savez(file, allow_pickle=True, xyz=np.array([Code()], dtype=object))
    return file.getvalue()


@pytest.mark.parametrize("suffix", [".pkl", ".pt", ".npy", ".npz"])
def test_code_in_a_file_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    mark = tmp_path / "ran"
    monkeypatch.setenv("CONVERT_PWNED", str(mark))
    (tmp_path / f"a{suffix}").write_bytes(with_code(suffix))
    result = convert_file(job(tmp_path / f"a{suffix}"))
    assert "never" in result.problem
    assert not mark.exists()


NAN = b"0 0 0\nnan 1 1\n2 2 2\n"
FLAT = b"v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.npz", zip_bomb(), "3,000,000,080 bytes"),
        ("a.txt", NAN, "1 points with NaN"),
        ("a.xyz", b"", "no points"),
        ("a.xyz", b"1 2 3\n1 2\n", "columns|number"),
        ("a.xyz", "1 2 3\n4 5 6 ü".encode("latin-1"), "UnicodeDecodeError"),
        ("a.xyz", b"1 2 3 0 0 300\n4 5 6 0 -9 0\n", "colours from -9 to 300"),
        ("a.xyz", b"1 1 1\n1 1 1\n", "all points in one place"),
        ("a.obj", FLAT, "1 faces, area 0"),
        ("a.obj", b"v 1e400 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "NaN or infinity"),
        ("a.obj", b"", "empty file"),
        ("a.glb", b"\0\0", "empty file"),
        ("a.pcd", b"no", "header"),
        ("a.las", b"LASF", "LAS header of 4 bytes"),
        ("a.pt", b"no", "torch.save"),
        ("a.npy", b"\x93NUMPY\x01\x00\xff\xff", "ValueError|EOF|header"),
    ],
)
def test_unusable_files_are_records_with_a_reason(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    result = convert_file(job(tmp_path / name))
    assert len(result.xyz) == 0
    assert result.facts["source"] == name
    assert any(part in result.problem for part in reason.split("|")), result.problem
    assert "\n" not in result.problem


def test_a_file_that_vanished_or_cannot_be_opened_is_a_record(tmp_path: Path) -> None:
    assert "FileNotFoundError" in convert_file(job(tmp_path / "gone.glb")).problem


def test_degenerate_faces_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_bytes(FLAT + b"v 0 1 0\nf 1 3 4\n")
    result = convert_file(job(tmp_path / "a.obj"))
    assert result.problem == ""
    assert (result.facts["faces"], result.facts["degenerate_faces"]) == (2, 1)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e12])
def test_objects_of_any_size_are_kept(tmp_path: Path, scale: float) -> None:
    BOX.copy().apply_scale(scale).export(tmp_path / "a.ply")
    result = convert_file(job(tmp_path / "a.ply", up="y"))
    assert np.array(result.facts["size"]) == pytest.approx(np.array([4, 2, 1]) * scale)
