"""Pickles of arrays are read as numpy wrote them, and nothing of a pickle runs."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lavis.common.errors import DataError
from lavis.datasets.readers.files import read_cloud
from lavis.datasets.readers.pickled_arrays import MAX_DEPTH, parse_pickled, read_pickled


def record() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "xyz": rng.standard_normal((5, 3)).astype(np.float32),
        "rgb": rng.integers(0, 256, (5, 3)).astype(np.uint8),
        "wide": rng.standard_normal((2, 3)).astype(">f8"),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "empty": np.zeros((0, 3)),
        "names": np.array(["chair", "table"]),
        "text": ["a chair", "ein Stuhl ü"],
        "feat": [{"original": np.ones((1, 4), np.float16)}],
        "number": np.float32(0.5),
        "flag": True,
        "nothing": None,
    }


def assert_equal(found: Any, wanted: Any) -> None:
    if isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key, value in wanted.items():
            assert_equal(found[key], value)
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted):
            assert_equal(one, other)
    elif isinstance(wanted, np.ndarray):
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype
    else:
        assert found == wanted


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_gives_what_was_written(protocol: int) -> None:
    assert_equal(parse_pickled(pickle.dumps(record(), protocol)), record())


def test_npy_of_one_record_and_of_several(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", record(), allow_pickle=True)
    several = np.empty(3, dtype=object)
    several[:] = [record()] * 3
    np.save(tmp_path / "several.npy", several, allow_pickle=True)
    assert_equal(read_pickled(tmp_path / "one.npy"), record())
    assert_equal(read_pickled(tmp_path / "several.npy"), [record()] * 3)


def test_names_of_older_numpy_are_read() -> None:
    written = pickle.dumps(record(), 2).replace(b"numpy._core.", b"numpy.core.")
    assert_equal(parse_pickled(written), record())


def test_plain_arrays_and_bare_pickles_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "plain.npy", np.arange(3))
    (tmp_path / "cloud.pkl").write_bytes(pickle.dumps(record()["xyz"]))
    assert_equal(read_pickled(tmp_path / "plain.npy"), np.arange(3))
    assert_equal(read_pickled(tmp_path / "cloud.pkl"), record()["xyz"])


class Runs:
    """Creates a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", range(6))
def test_code_is_refused_and_not_run(protocol: int, tmp_path: Path) -> None:
    bad = {"xyz": np.zeros((2, 3)), "text": Runs(tmp_path / "ran")}
    with pytest.raises(ValueError, match=r"posix\.mkdir.*never run"):
        parse_pickled(pickle.dumps(bad, protocol))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", [b"numpy\nload", b"builtins\neval", b"numpy.core.multiarray\nfromfile"]
)
def test_other_names_are_refused(name: bytes) -> None:
    with pytest.raises(ValueError, match="never run"):
        parse_pickled(b"c" + name + b"\n(S'x'\ntR.")


def damaged() -> dict[str, bytes]:
    whole = pickle.dumps(record(), 4)
    deep: Any = 1
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    return {
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"no pickle",
        "memo bomb": b"Nr" + struct.pack("<I", 2**31) + b".",
        "deep": pickle.dumps(deep),
        "cyclic": pickle.dumps(cyclic),
        "a class": b"cnumpy\nndarray\n.",
        "objects as bytes": pickle.dumps(np.zeros(2), 2).replace(b"f8", b"O8"),
        "state of a class": b"cnumpy\nndarray\n}S'a'\nI1\nsb.",
    }


@pytest.mark.parametrize("name", damaged())
def test_damage_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError):
        parse_pickled(damaged()[name])


def test_a_flipped_byte_gives_a_value_error_or_a_value() -> None:
    whole = pickle.dumps(record(), 4)
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 400):
        changed = bytearray(whole)
        changed[place] ^= int(rng.integers(1, 256))
        with contextlib.suppress(ValueError):
            parse_pickled(bytes(changed))


@pytest.mark.parametrize("columns", [3, 6])
def test_a_pickled_array_is_a_cloud(tmp_path, columns):
    values = np.random.default_rng(0).random((9, columns)).astype(np.float32)
    path = tmp_path / "a.pkl"
    for stored in (values, {"points": values, "name": "chair"}):
        path.write_bytes(pickle.dumps(stored))
        cloud = read_cloud(path)
        np.testing.assert_array_equal(cloud.xyz, values[:, :3])
        assert (cloud.rgb is None) == (columns == 3)


@pytest.mark.parametrize("stored", [["chair"], {"name": "chair"}, print, 3])
def test_other_pickles_are_no_clouds(tmp_path, stored):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(stored))
    with pytest.raises(DataError, match=r"pickle|no coordinates"):
        read_cloud(tmp_path / "a.pkl")
