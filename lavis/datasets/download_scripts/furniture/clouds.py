"""Sample coloured clouds of the models on every core; finished pieces survive an interruption.

Each cloud depends on seed and id alone: neither the number of processes nor the order in which they
finish changes a byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset
from tqdm import tqdm

from lavis.common.errors import DataError
from lavis.common.files import whole_file
from lavis.datasets.download_scripts.bricks_text import stable_hash
from lavis.datasets.download_scripts.furniture.catalogue import Model
from lavis.datasets.download_scripts.furniture.meshes import read_model
from lavis.datasets.download_scripts.side_by_side import read_side_by_side
from lavis.datasets.readers.files import DAMAGE
from lavis.datasets.stores.packed_points import pack_rgb, pack_xyz
from lavis.datasets.surface import sample_surface

_MODELS_PER_PIECE = 16


class Cloud(NamedTuple):
    """A packed cloud.

    Attributes:
        xyz: int16 [P,3] in the unit sphere about the middle of the box.
        rgb: uint8 [P,3].
        scale: radius of that sphere in metres.
    """

    xyz: np.ndarray
    rgb: np.ndarray
    scale: float


def sample_cloud(folder: Path, model: Model, num_points: int, seed: int) -> Cloud:
    """Sample a model uniformly by area, with the colours of its textures and materials."""
    rng = np.random.default_rng([seed, stable_hash(f"points:{model.object_id}")])
    mesh = read_model(folder, model)
    points = sample_surface(mesh.vertices, mesh.faces, num_points, rng)
    centred = points.xyz - np.array([0.0, model.size[1] / 2, 0.0])  # the base is at y = 0
    radius = max(float(np.linalg.norm(centred, axis=1).max()), 1e-12)
    return Cloud(pack_xyz(centred / radius), pack_rgb(mesh.colors(points)), radius)


class _Pieces(Dataset):
    """Clouds of some models at a time, sampled when they are read and kept in a file."""

    def __init__(
        self, work: Path, folder: Path, models: Sequence[Model], num_points: int, seed: int
    ) -> None:
        self.work, self.folder, self.num_points, self.seed = work, folder, num_points, seed
        starts = range(0, len(models), _MODELS_PER_PIECE)
        self.pieces = [list(models[start : start + _MODELS_PER_PIECE]) for start in starts]

    def __len__(self) -> int:
        return len(self.pieces)

    def path(self, index: int) -> Path:
        """Return the file of a piece."""
        return self.work / f"piece_{index:04d}.npz"

    def is_whole(self, index: int) -> bool:
        """Return whether the file of a piece is there, undamaged, and of these models."""
        try:
            with np.load(self.path(index), allow_pickle=False) as piece:
                ids = [model.object_id for model in self.pieces[index]]
                return piece["ids"].tolist() == ids and len(piece["xyz"]) == len(piece["rgb"])
        except DAMAGE:
            return False

    def __getitem__(self, index: int) -> int | DataError:
        """Return the index or an error, which the loader would wrap in a traceback if raised."""
        if self.is_whole(index):
            return index
        models = self.pieces[index]
        try:
            clouds = [sample_cloud(self.folder, m, self.num_points, self.seed) for m in models]
        except DataError as error:
            return error
        xyz, rgb, scale = (np.array(column) for column in zip(*clouds))
        with whole_file(self.path(index)) as partial, open(partial, "wb") as file:
            ids = np.array([model.object_id for model in models])
            np.savez(file, xyz=xyz, rgb=rgb, scale=scale.astype(np.float32), ids=ids)
        return index


def sample_clouds(
    work: Path,
    folder: Path,
    models: Sequence[Model],
    num_points: int,
    seed: int,
    progress: bool = True,
) -> Iterator[Cloud]:
    """Yield the clouds of the models in their order.

    Args:
        work: keeps finished pieces; of these models, points and seed only.
        folder: of `prepare_models`.
        models: to sample.
        num_points: P.
        seed: of the samples.
        progress: show a bar.

    Raises:
        DataError: a model cannot be read.
    """
    pieces = _Pieces(work, folder, models, num_points, seed)
    finished, total = read_side_by_side(pieces), len(pieces)
    bar = tqdm(finished, "Sampling furniture", total, unit="piece", disable=not progress)
    for index in bar:
        with np.load(pieces.path(index), allow_pickle=False) as piece:
            yield from map(Cloud, piece["xyz"], piece["rgb"], piece["scale"].tolist())
