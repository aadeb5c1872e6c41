"""A manifest lists every file of a prepared folder with its size and sha256; it is written last.

A folder without a manifest is unfinished. `verify_manifest` compares sizes (a few milliseconds) and
hashes on request. `verify_once` compares the hashes at the first use on a machine since it booted,
and again whenever a file was written since.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from lavis.common.errors import DataError
from lavis.common.files import file_sha256, private_folder
from lavis.common.folder_owner import boot_id
from lavis.common.strict_json import parse_json

MANIFEST_NAME = "manifest.json"
FORMAT_VERSION = 1


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically."""
    partial = path.with_name(path.name + ".tmp")
    with open(partial, "w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, indent=1, sort_keys=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def write_manifest(folder: Path, **facts: Any) -> dict[str, Any]:
    """Hash every file below `folder` and write the manifest.

    Args:
        folder: the finished content.
        facts: JSON values stored with the file list (parameters, counts, source versions).

    Returns:
        The manifest as written.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {
        "format_version": FORMAT_VERSION,
        **facts,
        "files": {
            path.relative_to(folder).as_posix(): {
                "bytes": path.stat().st_size,
                "sha256": file_sha256(path),
            }
            for path in files
            if path.name != MANIFEST_NAME
        },
    }
    write_json(folder / MANIFEST_NAME, manifest)
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a prepared folder.

    Raises:
        DataError: there is none, it is not readable, or another version wrote it.
    """
    path = Path(folder) / MANIFEST_NAME
    try:
        manifest = parse_json(path.read_text(encoding="utf-8"))
        version = manifest["format_version"]
        files = manifest["files"]
        known = all({"bytes", "sha256"} <= set(entry) for entry in files.values())
    except FileNotFoundError as error:
        raise _damaged(path, "missing", "a finished preparation") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, repr(error), "a manifest of this project") from error
    if version != FORMAT_VERSION or not known:
        raise _damaged(path, f"format {version}", f"format {FORMAT_VERSION}")
    return manifest


def verify_manifest(folder: Path, full: bool = False) -> dict[str, Any]:
    """Check a prepared folder against its manifest.

    Args:
        folder: the prepared folder.
        full: also compare the sha256 of every file (reads everything once).

    Returns:
        The manifest.

    Raises:
        DataError: naming the first file that is missing or differs.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise _damaged(path, "missing", f"{expected['bytes']} bytes")
        size = path.stat().st_size
        if size != expected["bytes"]:
            raise _damaged(path, f"{size} bytes", f"{expected['bytes']} bytes")
        if full:
            digest = file_sha256(path)
            if digest != expected["sha256"]:
                raise _damaged(path, f"sha256 {digest}", f"sha256 {expected['sha256']}")
    return manifest


def verify_once(folder: Path) -> dict[str, Any]:
    """Check a prepared folder; compare every hash unless this machine has since its start.

    The mark of an earlier comparison names size, inode and both times of every file. The time of
    change cannot be set by a program, so whoever writes a file takes the mark away.

    Returns, raises:
        See `verify_manifest`.
    """
    folder = Path(folder).resolve()
    manifest = verify_manifest(folder)
    mark = _mark(folder, manifest)
    if mark is None or not mark.exists():
        size = sum(int(entry["bytes"]) for entry in manifest["files"].values())
        logging.info("Comparing the hashes of %s once (%d MB)", folder, size // 10**6)
        verify_manifest(folder, full=True)
        if mark is not None and mark == _mark(folder, manifest):
            with contextlib.suppress(OSError):  # without a mark the next start compares again
                mark.touch()
    return manifest


def _mark(folder: Path, manifest: dict[str, Any]) -> Path | None:
    """Return the path of the mark of these files; None where no private place for it is found."""
    digest = hashlib.sha256(f"{folder} {boot_id()}".encode())
    for name in (MANIFEST_NAME, *manifest["files"]):
        status = os.stat(folder / name)
        facts = status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns
        digest.update(f"{name} {facts};".encode())
    home = private_folder("verified")
    return None if home is None else home / digest.hexdigest()


def _damaged(path: Path, got: str, expected: str) -> DataError:
    return DataError(
        "the prepared data set is not whole",
        where=str(path),
        got=got,
        expected=expected,
        fix=f"delete {path.parent} (or the prepared folder above it) and prepare it again",
    )
