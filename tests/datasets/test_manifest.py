"""The manifest notices missing, resized and changed files."""

from __future__ import annotations

from pathlib import Path

import pytest

from lavis.common.errors import DataError
from lavis.datasets.manifest import verify_manifest, write_manifest


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
