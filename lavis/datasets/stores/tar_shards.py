"""Clouds in tar shards (the layout of webdataset), on a disk or in an object store.

A shard holds `<object id>.npy` members and is indexed once (id -> shard, offset, size), so that
any object is read by one seek: order, resume and augmentation stay those of every other store.
Shards named by an address (http, https, or what fsspec knows: s3, gs, hf) are copied to a cache
folder first; rank 0 of each machine should do so (`prepare_shards`).

A tar is foreign content: members are read, never extracted; links, devices and paths that leave the
folder are refused; arrays are loaded without pickle.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from lavis.common.errors import DataError, DependencyError
from lavis.datasets.readers.files import DAMAGE
from lavis.datasets.readers.numpy_files import cloud_of_npy
from lavis.datasets.stores.notes import Notes
from lavis.datasets.stores.point_stores import PointStore

MAX_MEMBER_BYTES = 2**30
SUFFIX = ".npy"


class Member(NamedTuple):
    """Location of an object's array."""

    shard: Path
    offset: int
    size: int


class TarShardStore(PointStore):
    """Load a cloud by its object's id from tar shards.

    Args:
        shards: tar files on this machine (uncompressed: members are read in place).

    Raises:
        DataError: an unreadable or hostile shard, or an id in two shards.
    """

    def __init__(self, shards: Sequence[str | Path]) -> None:
        self.members: dict[str, Member] = {}
        self.notes = Notes("tar shards")
        for shard in map(Path, shards):
            for object_id, member in index_shard(shard).items():
                if object_id in self.members:
                    first = self.members[object_id].shard
                    raise _bad(shard, object_id, f"the id is in {first.name}, too")
                self.members[object_id] = member

    def load(self, object_id: str) -> np.ndarray:
        """Return [N,3|6], xyz as stored and rgb in [0,1]. Pickled content is refused, never run."""
        member = self.members.get(object_id)
        if member is None:
            raise _bad("shards", object_id, "no member of this id")
        try:
            with open(member.shard, "rb") as file:
                file.seek(member.offset)
                content = file.read(member.size)
            cloud = cloud_of_npy(io.BytesIO(content), len(content))
        except DAMAGE as error:
            raise _bad(member.shard, object_id, repr(error)) from error
        self.notes.say(object_id, cloud.notes)
        return cloud.joined()


def index_shard(shard: Path) -> dict[str, Member]:
    """Return {object id: place} of one shard after checking every member."""
    members: dict[str, Member] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for info in archive:
                _check_member(shard, info)
                if info.isfile() and info.name.endswith(SUFFIX):
                    place = Member(shard, info.offset_data, info.size)
                    members[info.name.removesuffix(SUFFIX)] = place
    except (tarfile.TarError, OSError, EOFError) as error:
        raise _bad(shard, "", repr(error)) from error
    return members


def _check_member(shard: Path, info: tarfile.TarInfo) -> None:
    """Refuse what a shard of arrays never holds."""
    path = PurePosixPath(info.name)
    if not (info.isfile() or info.isdir()) or info.issparse():
        raise _bad(shard, info.name, "a link, device or sparse member")
    if path.is_absolute() or ".." in path.parts:
        raise _bad(shard, info.name, "a path that leaves the folder")
    if info.size > MAX_MEMBER_BYTES or info.offset_data + info.size > shard.stat().st_size:
        raise _bad(shard, info.name, f"{info.size:,} bytes")


def write_shards(
    clouds: Iterable[tuple[str, np.ndarray]], folder: Path, per_shard: int
) -> list[Path]:
    """Write (object id, [N,C]) pairs as `shard-00000.tar`, ...; return the files."""
    paths: list[Path] = []
    folder.mkdir(parents=True, exist_ok=True)
    archive: tarfile.TarFile | None = None
    for number, (object_id, cloud) in enumerate(clouds):
        if number % per_shard == 0:
            if archive is not None:
                archive.close()
            paths.append(folder / f"shard-{len(paths):05d}.tar")
            archive = tarfile.open(paths[-1], "w")  # noqa: SIM115 - closed with the next one
        content = io.BytesIO()
        np.save(content, cloud, allow_pickle=False)
        info = tarfile.TarInfo(object_id + SUFFIX)
        info.size = content.tell()
        content.seek(0)
        assert archive is not None
        archive.addfile(info, content)
    if archive is not None:
        archive.close()
    return paths


def prepare_shards(addresses: Sequence[str], cache: Path) -> list[Path]:
    """Return local files of shards; addresses are copied to `cache` unless they are there.

    Raises:
        DataError: a shard is missing or cannot be read.
        DependencyError: an address that needs fsspec, which is not installed.
    """
    return [
        _fetched(address, cache) if "://" in address else Path(address) for address in addresses
    ]


def _fetched(address: str, cache: Path) -> Path:
    """Copy one shard in one step, so that a killed copy is not taken for a whole one."""
    # train/00000.tar and val/00000.tar are two shards: the name depends on the whole address.
    digest = hashlib.sha256(address.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    target = cache / f"{digest}-{PurePosixPath(urlsplit(address).path).name}"
    if target.is_file():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    partial = cache / f".{target.name}.{os.getpid()}.partial"
    try:
        with _open_address(address) as source, open(partial, "wb") as file:
            shutil.copyfileobj(source, file, 2**20)
        os.replace(partial, target)
    except OSError as error:
        raise _bad(address, "", repr(error)) from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def _open_address(address: str) -> IO[bytes] | Any:
    """Open an address for reading; "pipe:" commands as in webdataset do not exist here."""
    try:
        import fsspec
    except ImportError as error:
        raise DependencyError(
            "shards of an object store need fsspec", got=address, fix="pip install it"
        ) from error
    return fsspec.open(address, "rb").open()


def _bad(shard: Path | str, member: str, problem: object) -> DataError:
    return DataError(
        "a shard cannot be used",
        where=f"{shard}: {member}",
        got=problem,
        expected=f"a tar of <object id>{SUFFIX} files",
        fix="write the shard again or leave it out",
    )
