"""Read regular files out of .deb, .tgz and zip archives without letting one leave its folder.

for name, content in archive_files(path, lambda name: name.endswith(".png")):
    ...

Nothing is extracted by name: a caller gets the bytes and chooses where they go. Links and devices
are passed over, names that lead out are an error, and what a file unpacks to is limited.
"""

from __future__ import annotations

import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from lavis.common.errors import DataError
from lavis.common.files import file_below

MAX_FILE_BYTES = 1 << 28  # of one unpacked file
MAX_TOTAL_BYTES = 1 << 32  # of all that are read from an archive
_AR_MAGIC, _AR_HEADER = b"!<arch>\n", 60
_DAMAGE: tuple[type[Exception], ...] = (
    *(OSError, EOFError, ValueError, tarfile.TarError, zipfile.BadZipFile, zlib.error),
    *(lzma.LZMAError, RuntimeError, NotImplementedError),  # encrypted, unknown compression
)

Wanted = Callable[[str], bool]


def archive_files(
    source: Path | bytes, wanted: Wanted = lambda name: True, where: str = ""
) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of the wanted regular files, in the archive's order.

    Args:
        source: a path, or the bytes of an archive that was inside another.
        wanted: of a name without a leading "./".
        where: named in messages; the path, by default.

    Raises:
        DataError: a damaged archive, a name that leads out of a folder, or sizes above the limits.
    """
    where = where or (str(source) if isinstance(source, Path) else "archive")
    total = 0
    try:
        with open(source, "rb") if isinstance(source, Path) else io.BytesIO(source) as file:
            for name, size, read in _members(file):
                file_below(Path("."), name)
                if not wanted(name):
                    continue
                total += size
                if size > MAX_FILE_BYTES or total > MAX_TOTAL_BYTES:
                    raise ValueError(f"{name} unpacks to {size:,} bytes, {total:,} in all")
                yield name, read()
    except _DAMAGE as error:
        if isinstance(error, DataError):
            raise
        what, fix = "an archive cannot be read", "delete the file and download it again"
        raise DataError(what, where=where, got=repr(error), fix=fix) from error


def _members(file: IO[bytes]) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Yield name, declared size and a reader of every regular file."""
    head = file.read(len(_AR_MAGIC))
    file.seek(0)
    if head.startswith(b"PK"):
        yield from _zip_members(file)
        return
    if head == _AR_MAGIC:
        _seek_data(file)
    with tarfile.open(fileobj=file, mode="r|*") as archive:
        for member in archive:
            if member.isreg():
                name = member.name.removeprefix("./")
                yield name, member.size, lambda member=member: _content(archive, member)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    return b"" if stream is None else stream.read()


def _zip_members(file: IO[bytes]) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            is_link = entry.external_attr >> 16 & 0o170000 == 0o120000
            if not entry.is_dir() and not is_link:
                size = entry.file_size
                yield entry.filename, size, lambda entry=entry: _inflated(archive, entry)


def _inflated(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Return an entry's bytes, no more than it declares."""
    with archive.open(entry) as stream:
        content = stream.read(entry.file_size + 1)
    if len(content) != entry.file_size:
        raise ValueError(f"{entry.filename} has another size than it declares")
    return content


def _seek_data(file: IO[bytes]) -> None:
    """Move to the content of data.tar.* of a .deb, which is its last member."""
    file.seek(len(_AR_MAGIC))
    while len(header := file.read(_AR_HEADER)) == _AR_HEADER:
        name, size = header[:16].decode("ascii").strip(), int(header[48:58])
        if name.startswith("data.tar"):
            return
        file.seek(size + size % 2, 1)
    raise ValueError("no data.tar in the package")
