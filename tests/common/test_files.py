"""Files are written whole, and a write that fails is named with its bytes."""

import errno
import os

import pytest

from lavis.common import files
from lavis.common.errors import StorageError
from lavis.common.files import append_line, replace_file
from lavis.runners.loss_curve import read_rows
from lavis.runners.train_log import write_row


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_failed_write_names_file_and_bytes_and_leaves_the_old_file(tmp_path, monkeypatch, code):
    path = tmp_path / "metrics.json"
    replace_file(path, b"old")

    def fail(handle):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(StorageError, match=r"metrics\.json[^$]*bytes free[^$]*3,000 bytes"):
        replace_file(path, bytes(3000))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file/result"):
        replace_file(tmp_path / "file" / "result" / "x.json", b"")


def test_a_cut_row_does_not_swallow_the_next(tmp_path):
    path = tmp_path / "log.jsonl"
    append_line(path, '{"kind": "a"}')
    with open(path, "a") as file:
        file.write('{"kind": "cu')
    append_line(path, '{"kind": "b"}')
    append_line(path, '{"kind": "c"}')
    assert [row["kind"] for row in read_rows(path)] == ["a", "b", "c"]


def test_a_lost_row_stops_no_run(tmp_path, caplog):
    write_row(tmp_path / "absent" / "log.jsonl", "train", {"step": 1})
    assert "a train row is lost" in caplog.text
    (tmp_path / "folder").mkdir()
    write_row(tmp_path / "folder", "eval", {})
    assert "eval row is lost" in caplog.text
