"""Pieces of work, kept beside the target until it is whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from lavis.common.errors import DataError
from lavis.common.files import replace_file
from lavis.datasets.convert.engines import Piece
from lavis.datasets.convert.tasks import FORMAT, Converted, Job, read_piece
from lavis.datasets.readers.files import DAMAGE

JOBS_PER_PIECE = 16


def pieces_of(jobs: Sequence[Job], size: int = JOBS_PER_PIECE) -> list[Piece]:
    """Divide jobs into pieces, in their order."""
    groups = [tuple(jobs[start : start + size]) for start in range(0, len(jobs), size)]
    return [Piece(_name(group), group) for group in groups]


def _name(jobs: Sequence[Job]) -> str:
    """Return a hash of jobs and of the state of their files: work on other files is not taken."""
    digest = hashlib.sha256(str(FORMAT).encode())
    for job in jobs:
        with contextlib.suppress(OSError):  # the conversion names the file
            status = os.stat(job.path)
            digest.update(f"{status.st_size} {status.st_mtime_ns} ".encode())
        digest.update(json.dumps(asdict(job), sort_keys=True).encode())
    return digest.hexdigest()[:32]


class Work:
    """The folder of finished pieces.

    Args:
        folder: created when needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def has(self, piece: Piece) -> bool:
        """Return whether a piece is finished; a damaged one is not."""
        try:
            found = read_piece(self._path(piece), with_points=False)
        except DAMAGE:
            return False
        return [result.object_id for result in found] == [job.object_id for job in piece.jobs]

    def store(self, piece: Piece, content: bytes) -> None:
        """Keep a finished piece, whole or not at all.

        Raises:
            StorageError: the disk is full.
        """
        replace_file(self._path(piece), content)

    def results(self, pieces: Sequence[Piece], with_points: bool) -> Iterator[Converted]:
        """Yield what became of every file, in the order of the pieces.

        Raises:
            DataError: a piece was damaged since it was finished; it is removed.
        """
        for piece in pieces:
            path = self._path(piece)
            try:
                found = read_piece(path, with_points)
            except DAMAGE as error:
                path.unlink(missing_ok=True)
                what, fix = "finished work was damaged on the disk", "run the command again"
                raise DataError(what, where=str(path), got=repr(error), fix=fix) from error
            yield from found

    def _path(self, piece: Piece) -> Path:
        return self.folder / f"{piece.name}.npz"
