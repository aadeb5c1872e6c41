"""The cloud of an object and its size."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from lavis.common.errors import ConfigError
from lavis.datasets.datasets.annotations import Entry
from lavis.datasets.readers.values import extremes
from lavis.datasets.samples import Sample
from lavis.datasets.stores.point_stores import FieldStore, PointStore, check_cloud, check_points
from lavis.processors.point_transforms import PointFields


@dataclass(frozen=True)
class PointLoader:
    """Load an object's cloud, its further per-point fields, and its size.

    Fields: point_cloud float32 [N,3|6] as processed; box_size float32 [3], the bounding box (x, y,
    z) of the cloud as it was stored, in the data's own unit (what normalisation and augmentation
    take away), NaN when the store's scale is NaN; of a `FieldStore` every per-point field.

    Attributes:
        store: where clouds come from.
        processor: `__call__(cloud, rng)`, or any callable on a cloud.
    """

    store: PointStore
    processor: Callable[..., Any]
    stream = ""  # of the random numbers: augmentation follows the bare instance id

    def read(self, record: Entry) -> np.ndarray | PointFields:
        """Return an object's points as stored: [N,3|6], or named fields of a `FieldStore`.

        Raises:
            DataError: the cloud is absent, damaged or unusable; the object is named.
        """
        object_id = record["object_id"]
        if self._load_points is not None:
            return check_points(self._load_points(object_id), object_id)
        return check_cloud(self.store.load(object_id), object_id)

    @cached_property
    def _load_points(self) -> Callable[[str], PointFields] | None:
        return self.store.load_points if isinstance(self.store, FieldStore) else None

    @cached_property
    def _is_seeded(self) -> bool:
        return "rng" in inspect.signature(self.processor).parameters

    def load(self, record: Entry, rng: np.random.Generator) -> Sample:
        """Return the processed points and `box_size`."""
        points = self.read(record)
        xyz = points["xyz"] if isinstance(points, Mapping) else points[:, :3]
        scale = np.float32(self.store.scale(record["object_id"]))
        low, high = extremes(xyz)
        box = ((high - low) * scale).astype(np.float32, copy=False)  # [3]
        processed = self.processor(points, **({"rng": rng} if self._is_seeded else {}))
        fields = processed if isinstance(processed, Mapping) else {"point_cloud": processed}
        return {**fields, "box_size": torch.from_numpy(box)}


@dataclass(frozen=True)
class SizeDrop:
    """Withhold the size of a share of the samples, for training: `box_size` becomes NaN.

    Raises:
        ConfigError: the share is below 0 or above 1.
    """

    share: float
    stream = "size:"

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            where = "build_info.size_drop"
            raise ConfigError("not a share", where=where, got=self.share, expected="0 to 1")

    def load(self, record: Entry, rng: np.random.Generator) -> Sample:
        """Return a `box_size` [3] of NaN, or nothing."""
        withheld = self.share > 0 and rng.random() < self.share
        return {"box_size": torch.full((3,), math.nan)} if withheld else {}
