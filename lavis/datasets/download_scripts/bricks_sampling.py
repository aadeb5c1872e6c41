"""Sample the meshes of the bricks, a shard per category, on every core.

Each cloud depends on seed and part alone, so neither the number of processes nor the order in which
they finish changes a byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from lavis.common.errors import DataError
from lavis.datasets.download_scripts import bricks_files, bricks_meshes
from lavis.datasets.download_scripts.side_by_side import read_side_by_side
from lavis.datasets.stores.packed_points import pack_xyz

Record = dict[str, str]
# Packed points int16 [n,P,3], scales float32 [n], geometry hashes.
Sampled = tuple[np.ndarray, np.ndarray, list[str]]

_PARTS_PER_PIECE = 32  # of one category: what a process samples at a time


def by_category(parts: list[Record]) -> dict[str, list[Record]]:
    """Group parts by LDraw category, keeping their order."""
    grouped: dict[str, list[Record]] = {}
    for part in parts:
        grouped.setdefault(part["ldraw_category"], []).append(part)
    return grouped


def sample_categories(
    work: Path, package: Path, parts: list[Record], num_points: int, seed: int, progress: bool
) -> dict[str, str]:
    """Sample the categories that have no shard in `work` yet; return {object_id: geometry hash}."""
    from tqdm import tqdm

    hashes: dict[str, str] = {}
    bar = tqdm(total=len(parts), unit="part", desc="Sampling bricks", disable=not progress)
    with bar:
        missing = []
        for category, members in by_category(parts).items():
            names = bricks_files.read_shard(work, category, members)
            if names is None:
                missing += [members]
            else:
                hashes.update(zip((member["object_id"] for member in members), names))
                bar.update(len(members))
        pieces = read_side_by_side(_Pieces(package, missing, num_points, seed))
        for members in missing:
            xyz, scale, names = _gather(pieces, len(members), bar)
            bricks_files.write_shard(work, members[0]["ldraw_category"], members, xyz, scale, names)
            hashes.update(zip((member["object_id"] for member in members), names))
    return hashes


class _Pieces(Dataset):
    """The pieces of the missing categories in their order; reading one samples it."""

    def __init__(
        self, package: Path, categories: list[list[Record]], num_points: int, seed: int
    ) -> None:
        self.package, self.num_points, self.seed = package, num_points, seed
        self.pieces = [
            members[start : start + _PARTS_PER_PIECE]
            for members in categories
            for start in range(0, len(members), _PARTS_PER_PIECE)
        ]

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, index: int) -> Sampled | DataError:
        """Return an error instead of raising it: the loader would wrap it in a traceback."""
        try:
            return self._sampled(self.pieces[index])
        except DataError as error:
            return error

    def _sampled(self, members: list[Record]) -> Sampled:
        xyz = np.empty((len(members), self.num_points, 3), dtype=np.int16)
        scale = np.empty(len(members), dtype=np.float32)
        names = []
        with bricks_meshes.open_category(self.package, members[0]["ldraw_category"]) as archive:
            for row, member in enumerate(members):
                part_id = member["object_id"]
                vertices, faces = bricks_meshes.decode_mesh(archive, part_id)
                names.append(bricks_meshes.geometry_hash(vertices))
                cloud, scale[row] = bricks_meshes.sample_cloud(
                    vertices, faces, self.num_points, self.seed, part_id
                )
                xyz[row] = pack_xyz(cloud)
        return xyz, scale, names


def _gather(pieces: Iterator[Sampled], count: int, bar: Any) -> Sampled:
    """Take the pieces of one category, `count` parts."""
    taken: list[Sampled] = []
    while count > 0:
        taken.append(next(pieces))
        count -= len(taken[-1][2])
        bar.update(len(taken[-1][2]))
    xyz, scale, names = zip(*taken, strict=True)
    return np.concatenate(xyz), np.concatenate(scale), [name for part in names for name in part]
