"""Files: written whole or not at all, and recognised by their hash."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lavis.common.errors import ConfigError, DataError, StorageError


def file_below(folder: Path, relative: str) -> Path:
    """Return `folder / relative`, where `relative` contains a name from the data.

    Raises:
        DataError: the path leaves the folder (`..`, an absolute path) or cannot be a path.
    """
    normal = os.path.normpath(relative)
    leaves = normal == ".." or normal.startswith(("../", "..\\")) or Path(normal).is_absolute()
    if leaves or "\0" in relative:
        what = "a name in the data leads out of the folder"
        expected = "a path below the folder, without .. or a leading /"
        raise DataError(what, where=str(folder), got=relative, expected=expected)
    return folder / relative


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
    except (OSError, UnicodeError) as error:  # a name that this system's encoding lacks
        if new and isinstance(error, FileExistsError) and folder.parent.is_dir():
            raise
        raise ConfigError(
            "the output folder cannot be made", where="run.output_dir", got=error
        ) from error
    return folder


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that `path` is either the old one or the whole new one.

    Raises:
        StorageError: an OSError: the disk is full or read-only, or the folder cannot be written.
    """
    with storing(path, len(content)):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
        )
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(temporary, 0o644)  # mkstemp makes it private; results are meant to be shared
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path to write to, which becomes `path` at the end. After an error nothing is left.

    One process at a time: the path is the same for all.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def storing(path: Path, needed: int) -> Iterator[None]:
    """Turn an OSError inside into a StorageError with the file, its bytes and those that are free.

    Args:
        path: the file that is written.
        needed: its bytes.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            "a file could not be written",
            where=str(path),
            got=f"{error.strerror or error} ({free_bytes(path):,} bytes free)",
            expected=f"{needed:,} bytes in a folder that can be written",
            fix=f"free space below {path.parent}, or write elsewhere (run.output_dir)",
        ) from error


def free_bytes(path: Path) -> int:
    """Return the free bytes of the disk that holds the nearest folder that exists."""
    for folder in path.absolute().parents:
        with contextlib.suppress(OSError):
            return shutil.disk_usage(folder).free
    return 0


def append_line(path: Path, line: str, sync: bool = False) -> None:
    """Append a line in one write; a line that was cut before (full disk, kill) is ended first.

    Args:
        path: of the file, created if absent.
        line: without its newline.
        sync: return only when the line is on the disk.

    Raises:
        OSError: nothing, or a part of the line, was written.
    """
    content = f"{line}\n".encode()
    with open(path, "ab+", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":
                content = b"\n" + content
        if (written := file.write(content)) != len(content):
            raise OSError(errno.ENOSPC, f"{written} of {len(content)} bytes written")
        if sync:
            os.fsync(file.fileno())


def private_folder(name: str) -> Path | None:
    """Return a folder below the system's temporary one that only this user reads and writes.

    Returns:
        The folder; None where it cannot be made, or where another user made it first.
    """
    folder = Path(tempfile.gettempdir()) / f"lavis-{os.getuid()}-{name}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return None
    private = stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o700
    return folder if private and status.st_uid == os.getuid() else None
