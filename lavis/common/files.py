"""Files: written whole or not at all, and recognised by their hash."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from lavis.common.errors import ConfigError, explain


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; reads it in blocks."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def make_folder(folder: Path, new: bool = False) -> Path:
    """Create a folder below run.output_dir and return it.

    Args:
        folder: to create, with its parents.
        new: refuse one that exists.

    Raises:
        FileExistsError: it exists and should be new.
        ConfigError: it cannot be created.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=not new)
    except OSError as error:
        if new and isinstance(error, FileExistsError) and folder.parent.is_dir():
            raise
        raise ConfigError(
            explain("the output folder cannot be made", where="run.output_dir", got=error)
        ) from error
    return folder


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that `path` is either the old one or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes it private; result files are meant to be shared
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
