"""Packages: known by their hash, fetched by the registry's client, never half there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from lavis.common.errors import DataError
from lavis.datasets.download_scripts.packages import Package, fetch

CONTENT = b"a package"
PACKAGE = Package("npm", "@scope/icons", "1.0", hashlib.sha256(CONTENT).hexdigest(), 1, "MIT")


@pytest.fixture
def client(tmp_path: Path, monkeypatch) -> Path:
    """A stand-in for `npm` that writes what `answer` holds."""
    script = tmp_path / "bin/npm"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\n[ "$3" = "@scope/icons@1.0" ] && cat "$ANSWER" > scope-icons.tgz')
    script.chmod(0o755)
    answer = tmp_path / "answer"
    answer.write_bytes(CONTENT)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("ANSWER", str(answer))
    return answer


def test_a_package_is_downloaded_once(client: Path, tmp_path: Path) -> None:
    path = fetch(PACKAGE, tmp_path / "kept")
    assert path.name == "scope-icons_1.0.tgz"
    assert path.read_bytes() == CONTENT
    client.unlink()
    assert fetch(PACKAGE, tmp_path / "kept") == path
    assert list(path.parent.iterdir()) == [path]


def test_another_content_is_refused_and_not_kept(client: Path, tmp_path: Path) -> None:
    client.write_bytes(b"something else")
    with pytest.raises(DataError, match="is not @scope/icons"):
        fetch(PACKAGE, tmp_path / "kept")
    assert not list((tmp_path / "kept").iterdir())


def test_a_damaged_file_on_the_disk_is_refused(tmp_path: Path) -> None:
    (tmp_path / PACKAGE.file_name).write_bytes(b"cut")
    with pytest.raises(DataError, match="delete the file"):
        fetch(PACKAGE, tmp_path)


def test_a_failed_download_says_what_to_put_where(client: Path, tmp_path: Path) -> None:
    client.unlink()
    with pytest.raises(DataError, match=r"put the file at") as raised:
        fetch(PACKAGE, tmp_path / "kept")
    assert "npm pack --silent @scope/icons@1.0" in str(raised.value)
    assert str(tmp_path / "kept" / PACKAGE.file_name) in str(raised.value)
