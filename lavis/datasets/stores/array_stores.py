"""Clouds in memory, clouds turned to this project's up axis, and samples of large clouds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lavis.common.errors import DataError, require_choice
from lavis.datasets.datasets.annotations import sample_rng
from lavis.datasets.stores.point_stores import PointStore

UP_AXES = ("y", "z", "unknown")


@dataclass(frozen=True)
class ArrayPointStore(PointStore):
    """Clouds of files that hold many of them (HDF5, .npy of all objects).

    Attributes:
        clouds: {object id: [N,3|6]}.
        where: the files, for messages.
    """

    clouds: Mapping[str, np.ndarray]
    where: str

    def load(self, object_id: str) -> np.ndarray:
        """Return [N,3|6] as stored."""
        if object_id in self.clouds:
            return self.clouds[object_id]
        where = f"{self.where}: object {object_id}"
        got = f"{len(self.clouds)} other objects"
        raise DataError("an object has no cloud", where=where, got=got)


@dataclass(frozen=True)
class UprightStore:
    """Clouds of another store, whose up axis z becomes y."""

    store: PointStore

    def load(self, object_id: str) -> np.ndarray:
        """Return [N,3|6] with up +y, in a right-handed frame: (x, y, z) becomes (x, z, -y)."""
        cloud = self.store.load(object_id)
        xyz = np.stack([cloud[:, 0], cloud[:, 2], -cloud[:, 1]], axis=1)
        return np.concatenate([xyz, cloud[:, 3:]], axis=1)

    def scale(self, object_id: str) -> float:
        """Return the scale of the store."""
        return self.store.scale(object_id)


def upright(store: PointStore, up_axis: str, where: str) -> PointStore:
    """Return a store whose clouds have up +y.

    Args:
        store: clouds as released.
        up_axis: of these: "y", "z", or "unknown", which turns nothing.
        where: the yaml key.

    Raises:
        ConfigError: another axis.
    """
    require_choice("up axis", up_axis, UP_AXES, where)
    return UprightStore(store) if up_axis == "z" else store


@dataclass(frozen=True)
class SampledStore:
    """Large clouds of another store, reduced to a fixed random sample in a random order.

    Attributes:
        store: the whole clouds.
        num_points: points that are kept; clouds with fewer stay whole.
        seed: of the samples; a cloud's sample depends on it and on the object id.
    """

    store: PointStore
    num_points: int
    seed: int = 0

    def load(self, object_id: str) -> np.ndarray:
        """Return [min(N, num_points),3|6]."""
        cloud = self.store.load(object_id)
        rng = sample_rng(self.seed, 0, object_id)
        return cloud[rng.permutation(len(cloud))[: self.num_points]]

    def scale(self, object_id: str) -> float:
        """Return the scale of the store."""
        return self.store.scale(object_id)
