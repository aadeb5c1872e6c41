"""Uploads are read in a process of their own, within a time limit."""

from __future__ import annotations

import multiprocessing
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from lavis.common.errors import DataError
from pointlang.app.reading import prepare, read_upload
from pointlang.objects import read_object


@pytest.fixture(scope="module", autouse=True)
def _readers() -> None:
    prepare()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text cloud that takes longer to read than a signal to a process."""
    path = tmp_path_factory.mktemp("large") / "large.xyz"
    path.write_text("0.123 0.456 0.789\n0.3 0.2 0.1\n" * 600_000, encoding="utf-8")
    return path


def test_the_same_points_as_in_the_process_itself(objects: Path) -> None:
    own, read = read_object(objects / "red.npy"), read_upload(objects / "red.npy")
    assert read.name == "red.npy"
    np.testing.assert_array_equal(read.points, own.points)
    assert (read.scale, read.notes) == (own.scale, own.notes)


def test_a_bad_file_is_named_without_its_folder(objects: Path) -> None:
    with pytest.raises(DataError, match="holds no object") as error:
        read_upload(objects / "broken.ply")
    assert "where:    broken.ply" in str(error.value)
    assert str(objects) not in str(error.value)


def test_a_file_that_takes_too_long(large: Path) -> None:
    start = time.perf_counter()
    with pytest.raises(DataError, match=r"got: .*more than 0\.05 s"):
        read_upload(large, seconds=0.05)
    assert time.perf_counter() - start < 20
    assert multiprocessing.active_children() == []


def test_a_reader_that_dies(large: Path) -> None:
    def end() -> None:
        while not (children := multiprocessing.active_children()):
            time.sleep(0.01)
        children[0].kill()

    threading.Thread(target=end).start()
    with pytest.raises(DataError, match="the reading process ended"):
        read_upload(large)
