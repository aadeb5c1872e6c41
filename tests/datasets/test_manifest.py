"""The manifest notices missing, resized and changed files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from lavis.common.errors import DataError
from lavis.common.files import private_folder
from lavis.datasets import manifest
from lavis.datasets.manifest import verify_manifest, verify_once, write_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two files and a manifest."""
    (tmp_path / "a.txt").write_text("content")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.bin").write_bytes(b"1234")
    write_manifest(tmp_path, counts={"objects": 2})
    return tmp_path


def test_whole_folder_passes_and_returns_the_facts(folder: Path) -> None:
    manifest = verify_manifest(folder, full=True)
    assert manifest["counts"] == {"objects": 2}
    assert set(manifest["files"]) == {"a.txt", "deep/b.bin"}


def test_missing_file_is_named(folder: Path) -> None:
    (folder / "deep" / "b.bin").unlink()
    with pytest.raises(DataError, match=r"b\.bin"):
        verify_manifest(folder)


def test_other_size_is_named(folder: Path) -> None:
    (folder / "a.txt").write_text("longer content")
    with pytest.raises(DataError, match=r"a\.txt"):
        verify_manifest(folder)


def test_one_changed_byte_needs_the_full_check(folder: Path) -> None:
    (folder / "deep" / "b.bin").write_bytes(b"1235")
    verify_manifest(folder)
    with pytest.raises(DataError, match=r"b\.bin"):
        verify_manifest(folder, full=True)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"format_version": 99, "files": {}}'])
def test_folder_without_a_usable_manifest_is_refused(folder: Path, text: str | None) -> None:
    path = folder / "manifest.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json"):
        verify_manifest(folder)


def flip(path: Path) -> None:
    """Change a byte in place: same size, same time of modification."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def marks(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for marks."""
    home = tmp_path_factory.mktemp("marks")
    monkeypatch.setattr(tempfile, "tempdir", str(home))
    return home


def test_hashes_are_compared_at_the_first_use_alone(
    folder: Path, marks: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        for _ in range(3):
            verify_once(folder)
    assert caplog.text.count("Comparing the hashes") == 1


@pytest.mark.parametrize("name", ["a.txt", "deep/b.bin"])
@pytest.mark.parametrize("used_before", [False, True])
def test_a_byte_changed_in_place_is_found(
    folder: Path, marks: Path, name: str, used_before: bool
) -> None:
    if used_before:
        verify_once(folder)
    flip(folder / name)
    for _ in range(2):  # a refusal leaves no mark
        with pytest.raises(DataError, match=f"{name}[^$]*sha256"):
            verify_once(folder)


def test_another_boot_compares_again(
    folder: Path, marks: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    verify_once(folder)
    monkeypatch.setattr(manifest, "boot_id", lambda: "another")
    with caplog.at_level("INFO"):
        verify_once(folder)
    assert "Comparing the hashes" in caplog.text


def test_a_mark_that_others_could_write_is_not_trusted(folder: Path, marks: Path) -> None:
    verify_once(folder)
    (home,) = marks.iterdir()
    home.chmod(0o777)
    assert private_folder("verified") is None
    verify_once(folder)  # compares again, and goes on without a mark
