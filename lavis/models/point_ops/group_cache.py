"""A cache of groups: which points are centres and neighbours, per object.

Rotation, shift and uniform scaling move no point nearer to another, so the groups found for a
cloud serve every such augmentation of it. Sampling other points, shuffling, jitter or dropout do
change them; the cache notices and computes anew.

    cache = GroupCache()
    indices = cache.lookup(samples["instance_id"], point_cloud, encoder.group_indices)
    output = encoder(None, encoder.group(point_cloud, indices))

A data set without an encoder passes `partial(group_indices, num_group=512, group_size=32)`.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lavis.common.errors import DataError, ShapeError, explain
from lavis.models.point_ops.gather import gather_points
from lavis.models.point_ops.ops import farthest_point_sample, knn

_logger = logging.getLogger(__name__)

_WITNESSES = 32  # points whose mutual distances recognise a cloud
_TOLERANCE = 5e-3  # of the largest distance; half precision rounds to 1e-3


class _Entry(NamedTuple):
    """One object: center [G], neighbor [G,S] (int16 or int32), signature [32], points N."""

    center: Tensor
    neighbor: Tensor
    signature: Tensor
    num_points: int

    @property
    def bytes(self) -> int:
        return sum(part.numel() * part.element_size() for part in self[:3])


def group_indices(xyz: Tensor, num_group: int, group_size: int) -> tuple[Tensor, Tensor]:
    """Choose farthest-point centres, from point 0, and their nearest neighbours.

    Args:
        xyz: [B,N,3|6]; colour is not read.
        num_group: G.
        group_size: S.

    Returns:
        center_index Long [B,G] and neighbor_index Long [B,G,S].

    Raises:
        ShapeError: bad clouds, or fewer points than G or S.
    """
    points = xyz[..., :3]
    center_index = farthest_point_sample(points, num_group)
    return center_index, knn(gather_points(points, center_index), points, group_size)


class GroupCache:
    """Group indices by instance id, in memory, with a file to keep them between runs.

    Args:
        max_bytes: memory for indices; 512 groups of 32 take 34 kB an object (68 kB above 32,767
            points). A full cache keeps what it holds: in an epoch's order, throwing out the oldest
            would lose every entry before its next use.

    Attributes:
        hits, misses: objects found and computed so far.
    """

    def __init__(self, max_bytes: int = 2 << 30) -> None:
        self.max_bytes = max_bytes
        self.hits = 0
        self.misses = 0
        self._bytes = 0
        self._entries: dict[str, _Entry] = {}
        self._told: set[str] = set()

    def __len__(self) -> int:
        return len(self._entries)

    def lookup(
        self,
        instance_id: Sequence[str],
        point_cloud: Tensor,
        compute: Callable[[Tensor], tuple[Tensor, Tensor]],
    ) -> tuple[Tensor, Tensor]:
        """Return the groups of a batch, computing only those of clouds not seen before.

        Args:
            instance_id: B names of the objects.
            point_cloud: [B,N,3|6], seen before up to rotation, shift, mirroring and uniform scale.
            compute: gives center_index Long [b,G] and neighbor_index Long [b,G,S] for clouds
                [b,N,3|6], e.g. `encoder.group_indices`; always the same one for one cache.

        Returns:
            center_index Long [B,G] and neighbor_index Long [B,G,S] on the clouds' device.

        Raises:
            ShapeError: not one id per cloud, or what `compute` raises.
        """
        if point_cloud.dim() != 3 or len(instance_id) != point_cloud.shape[0]:
            raise ShapeError(
                explain(
                    "instance_id does not fit point_cloud.",
                    got=f"{len(instance_id)} ids, point_cloud {list(point_cloud.shape)}",
                    expected="one id per cloud of [B,N,3|6]",
                )
            )
        signature = _signature(point_cloud[..., :3]).cpu()  # [B,32]
        found = [
            self._find(name, row, point_cloud.shape[1])
            for name, row in zip(instance_id, signature, strict=True)
        ]
        missing = [row for row, entry in enumerate(found) if entry is None]
        self.hits += len(found) - len(missing)
        self.misses += len(missing)
        if missing:
            center, neighbor = compute(point_cloud[missing])
            for place, row in enumerate(missing):
                found[row] = self._store(
                    instance_id[row], center[place], neighbor[place], signature[row], point_cloud
                )
        entries = [entry for entry in found if entry is not None]
        device = point_cloud.device
        return (
            torch.stack([entry.center for entry in entries]).to(device).long(),
            torch.stack([entry.neighbor for entry in entries]).to(device).long(),
        )

    def save(self, path: str | Path) -> None:
        """Write the cache to a safetensors file, at once or not at all.

        Raises:
            DataError: an empty cache, or a file that cannot be written (the old one stays).
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        if not self._entries:
            raise DataError(explain("The group cache is empty.", where=str(path)))
        entries = list(self._entries.values())
        num_points = torch.tensor([entry.num_points for entry in entries])
        tensors = {
            "center": torch.stack([entry.center.int() for entry in entries]),  # [n,G]
            "neighbor": torch.stack([entry.neighbor.int() for entry in entries]),  # [n,G,S]
            "signature": torch.stack([entry.signature for entry in entries]),  # [n,32]
            "num_points": num_points,  # [n]
        }
        path = Path(path)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, partial, metadata={"instance_id": json.dumps(list(self._entries))})
            os.replace(partial, path)
        except (OSError, SafetensorError) as error:
            partial.unlink(missing_ok=True)
            raise DataError(
                explain("The group cache cannot be written.", where=str(path), got=error)
            ) from error

    def load(self, path: str | Path) -> None:
        """Add the entries of a file written by `save`.

        Raises:
            DataError: a missing or damaged file, or indices outside their clouds.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                names = json.loads(file.metadata()["instance_id"])
                parts = ("center", "neighbor", "signature", "num_points")
                columns = [file.get_tensor(part) for part in parts]
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                explain(
                    "The group cache cannot be read.",
                    where=str(path),
                    got=f"{type(error).__name__}: {error}",
                    fix="delete the file; the groups are computed again",
                )
            ) from error
        center, neighbor, signature, num_points = columns
        highest = torch.maximum(center.amax(1), neighbor.amax((1, 2)))
        lowest = torch.minimum(center.amin(1), neighbor.amin((1, 2)))
        if len(names) != len(center) or bool(((lowest < 0) | (highest >= num_points)).any()):
            raise DataError(
                explain(
                    "The group cache is damaged.",
                    where=str(path),
                    got="indices outside their clouds",
                    fix="delete the file; the groups are computed again",
                )
            )
        for row, name in enumerate(names):
            self._keep(name, center[row], neighbor[row], signature[row], int(num_points[row]))

    def _find(self, name: str, signature: Tensor, num_points: int) -> _Entry | None:
        """Return the entry of an object if its cloud is still the same."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        same = entry.num_points == num_points
        if same and bool(((entry.signature - signature).abs() <= _TOLERANCE).all()):
            return entry
        self._tell(
            "changed",
            f"The points of {name!r} change between uses by more than rotation, shift and scale: "
            "its groups are computed again. Turn the cache off for such augmentation.",
        )
        return None

    def _store(
        self, name: str, center: Tensor, neighbor: Tensor, signature: Tensor, clouds: Tensor
    ) -> _Entry:
        """Keep what was computed for an object and return it."""
        num_points = clouds.shape[1]
        return self._keep(name, center.cpu(), neighbor.cpu(), signature, num_points)

    def _keep(
        self, name: str, center: Tensor, neighbor: Tensor, signature: Tensor, num_points: int
    ) -> _Entry:
        """Enter an object unless the memory is used up; return its entry."""
        dtype = torch.int16 if num_points <= torch.iinfo(torch.int16).max else torch.int32
        entry = _Entry(center.to(dtype), neighbor.to(dtype), signature.clone(), num_points)
        known = self._entries.get(name)
        grown = self._bytes + entry.bytes - (known.bytes if known is not None else 0)
        if grown <= self.max_bytes:
            self._entries[name] = entry
            self._bytes = grown
        else:
            self._tell("full", f"The group cache is full with {len(self)} objects.")
        return entry

    def _tell(self, topic: str, message: str) -> None:
        """Warn once per topic."""
        if topic not in self._told:
            self._told.add(topic)
            _logger.warning(message)


def _signature(xyz: Tensor) -> Tensor:
    """Return [B,32] distances round a ring of points of xyz [B,N,3], relative to the largest.

    They do not change under rotation, mirroring, shift and uniform scale.
    """
    place = torch.arange(_WITNESSES, device=xyz.device) * xyz.shape[1] // _WITNESSES
    points = xyz.detach()[:, place].float()  # [B,32,3]
    distance = (points - points.roll(1, dims=1)).norm(dim=-1)  # [B,32]
    return distance / distance.amax(dim=1, keepdim=True).clamp_min(1e-12)
