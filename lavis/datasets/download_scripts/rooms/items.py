"""What a room is furnished with: objects with a class and a size, and their meshes on request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from lavis.common.errors import DataError


@dataclass(frozen=True)
class Item:
    """An object that can be placed.

    Attributes:
        object_id: of the source.
        name: as the source writes it.
        label: class, see classes.py.
        size: (width, height, depth) in metres, of its box.
        split: of the source: train, val, test, or held_out.
        source: "furniture" or "bricks".
        elevation: height of the base above the floor where the source hangs it, metres.
    """

    object_id: str
    name: str
    label: str
    size: tuple[float, float, float]
    split: str
    source: str = "furniture"
    elevation: float = 0.0


@dataclass(frozen=True)
class ItemMesh:
    """The triangles of an object: base at y = 0, its box centred about x = z = 0, front +z.

    Attributes:
        triangles: float32 [F,3,3], metres.
        colors: uint8 [F,3].
    """

    triangles: np.ndarray
    colors: np.ndarray

    def fitted(self, size: tuple[float, float, float]) -> ItemMesh:
        """Return the mesh moved and scaled into a box of a size (metres).

        Raises:
            DataError: no triangle, or corners that are not finite.
        """
        if not len(self.triangles) or not np.isfinite(self.triangles).all():
            raise DataError("an object has no usable mesh", got=self.triangles.shape)
        low, high = self.triangles.min((0, 1)), self.triangles.max((0, 1))
        scale = np.array(size) / np.maximum(high - low, 1e-9)
        middle = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
        return ItemMesh(((self.triangles - middle) * scale).astype(np.float32), self.colors)


@dataclass
class Catalogue:
    """Items by class, and their meshes.

    Attributes:
        items: every item, of all splits.
        read_mesh: returns the mesh of an item in the frame of `ItemMesh`.
        kept: so many meshes stay in memory.
    """

    items: list[Item]
    read_mesh: Callable[[Item], ItemMesh]
    kept: int = 128
    _by_label: dict[str, list[Item]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for item in self.items:
            self._by_label.setdefault(item.label, []).append(item)
        self.mesh = lru_cache(self.kept)(self.read_mesh)

    def of(self, splits: Iterable[str]) -> Catalogue:
        """Return the items of some splits; the meshes in memory are shared."""
        chosen = [item for item in self.items if item.split in set(splits)]
        part = Catalogue(chosen, self.read_mesh, self.kept)
        part.mesh = self.mesh
        return part

    def pick(self, rng: np.random.Generator, *labels: str) -> Item | None:
        """Draw an item of one of the classes; None where there is none.

        Classes are drawn first, so that a class of many models is not preferred.
        """
        known = [label for label in labels if label in self._by_label]
        if not known:
            return None
        choices = self._by_label[known[rng.integers(len(known))]]
        return choices[rng.integers(len(choices))]
