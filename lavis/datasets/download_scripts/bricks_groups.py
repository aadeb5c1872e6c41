"""Groups of parts that must not be divided between splits, and the file that freezes them.

Two parts are linked when they share a base part, a geometry, or a description once numbers and
sides are masked ("Plate 2 x 4 Left", "Plate 1 x 6 Right"), or when they are near-duplicates: boxes
alike, and a chamfer distance of at most 1.3 times what two samples of one part differ by, in any of
the eight poses of quarter turns about the up axis and reflections. A group is what links connect.

Connected parts change when a part between them disappears, so groups are computed once
(freeze_bricks_groups.py) and frozen in `bricks_v2.tsv`; every preparation reads it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from lavis.datasets.download_scripts.bricks_text import natural_key, stable_hash
from lavis.datasets.stores.packed_points import XYZ_SCALE, PackedPoints

VERSION = 2
NEAR_FACTOR = 1.3
_BOX_RATIO = 0.06  # boxes further apart, as logarithms of their edges, are not compared
_BOX_SLACK = (0.15, 0.08)  # studs, and share of an edge: what sampling leaves of an extent
_THINNEST = 0.1  # studs
_SCREEN = 8  # every eighth point decides whether a pair is worth an exact distance
_SCREEN_FACTOR = 3.0

# Quarter turns about the up axis, each with and without a reflection in x.
_TURNS = ((1, 0), (0, 1), (-1, 0), (0, -1))
POSES = np.array(
    [[[c * m, 0, s], [0, 1, 0], [-s * m, 0, c]] for m in (1, -1) for c, s in _TURNS],
    dtype=np.float32,
)  # [8,3,3]


class Groups:
    """Union-find over strings."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, item: str) -> str:
        """Return the representative of the group of `item`."""
        self._parent.setdefault(item, item)
        root = item
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[item] != root:
            self._parent[item], item = root, self._parent[item]
        return root

    def union(self, first: str, second: str) -> None:
        """Join two groups; the smaller name represents both, whatever the order of calls."""
        a, b = sorted((self.find(first), self.find(second)))
        self._parent[b] = a


def group_share(group: str) -> float:
    """Return the group's place in [0,1): a hash of its name."""
    return stable_hash(f"bricks-v{VERSION}:{group}") / 2**64


def masked_description(description: str) -> str:
    """Return a description in lower case, with every number as "#" and left and right as one."""
    text = re.sub(r"\b(left|right)\b", "<side>", description.lower())
    return re.sub(r"\s+", " ", re.sub(r"\d+(?:\.\d+)?", "#", text)).strip()


def links_of(record: Mapping[str, str]) -> tuple[str, ...]:
    """Return the keys other than geometry that a record shares with its group."""
    return (
        "base:" + record["base_id"],
        "geometry:" + record["geometry"],
        "text:" + masked_description(record["description"]),
    )


def near_duplicates(folder: Path, factor: float = NEAR_FACTOR) -> list[tuple[int, int]]:
    """Return the pairs of rows of a packed folder that are near-duplicates.

    Args:
        folder: holds packed points; the scale gives studs.
        factor: largest chamfer distance, in units of the larger resampling distance of the two.
    """
    points = PackedPoints(folder)
    clouds = (
        cloud.astype(np.float32) / np.float32(XYZ_SCALE) * scale
        for cloud, scale in zip(points.xyz, points.scale)
    )
    return near_pairs(clouds, points.box_sizes(), factor)


def near_pairs(
    clouds: Iterable[np.ndarray], boxes: np.ndarray, factor: float = NEAR_FACTOR
) -> list[tuple[int, int]]:
    """Return the pairs of near-duplicates.

    Args:
        clouds: n of [P,3] in studs, points drawn independently.
        boxes: [n,3], their extents.
        factor: see `near_duplicates`.
    """
    first, noise = resampling_distances(clouds)
    trees = [cKDTree(cloud) for cloud in first]
    found = []
    for a, b in similar_boxes(boxes):
        limit = factor * max(noise[a], noise[b])
        if pose_distance(first[a], trees[a], first[b], limit) <= limit:
            found.append((a, b))
    return found


def resampling_distances(
    clouds: Iterable[np.ndarray],
) -> tuple[list[np.ndarray], list[float]]:
    """Return half of each cloud, n x [P/2,3], and its distance from the other half."""
    halves, noise = [], []
    for cloud in clouds:
        half = len(cloud) // 2
        halves.append(cloud[:half])
        noise.append(chamfer(cloud[:half], cKDTree(cloud[:half]), cloud[half:]))
    return halves, noise


def similar_boxes(boxes: np.ndarray) -> list[tuple[int, int]]:
    """Return the pairs of boxes [n,3] that are alike up to a quarter turn about the up axis."""
    flat = np.sort(boxes[:, [0, 2]], axis=1)
    edges = np.log(np.maximum(np.column_stack([flat, boxes[:, 1]]), _THINNEST))  # [n,3]
    pairs = cKDTree(edges).query_pairs(_BOX_RATIO, p=np.inf, output_type="ndarray")
    return [(int(a), int(b)) for a, b in pairs]


def chamfer(cloud: np.ndarray, tree: cKDTree, other: np.ndarray) -> float:
    """Return the mean of both directed mean nearest-neighbour distances; `tree` is of `cloud`."""
    return float(tree.query(other)[0].mean() + cKDTree(other).query(cloud)[0].mean()) / 2


def pose_distance(cloud: np.ndarray, tree: cKDTree, other: np.ndarray, limit: float) -> float:
    """Return the least chamfer distance [studs] over the eight poses; infinity when all are far."""
    best = np.inf
    extent = np.ptp(cloud, axis=0)
    slack = np.maximum(_BOX_SLACK[0], _BOX_SLACK[1] * extent)
    for pose in POSES:
        turned = other @ pose.T
        if (np.abs(np.ptp(turned, axis=0) - extent) > slack).any():
            continue
        if tree.query(turned[::_SCREEN])[0].mean() <= _SCREEN_FACTOR * limit:
            best = min(best, chamfer(cloud, tree, turned))
        if best <= limit:
            break
    return best


def group_names(
    records: Sequence[Mapping[str, str]],
    near: Iterable[tuple[str, str]],
    frozen: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return {object_id: group}, named after the group's first object in natural order.

    Args:
        records: each with object_id, base_id, geometry, description.
        near: pairs of object ids that are near-duplicates.
        frozen: {object_id: group} to keep. Of several frozen names of a group the one with the
            highest hash stays: training is above every threshold, so merging two groups takes
            nothing out of training that a released encoder may have seen.
    """
    groups = Groups()
    for record in records:
        for link in links_of(record):
            groups.union("object:" + record["object_id"], link)
    for first, second in near:
        groups.union("object:" + first, "object:" + second)
    members: dict[str, list[str]] = defaultdict(list)
    for record in records:
        members[groups.find("object:" + record["object_id"])].append(record["object_id"])
    named: dict[str, str] = {}
    for ids in members.values():
        known = {frozen[i] for i in ids if frozen and i in frozen}
        name = max(known, key=group_share) if known else min(ids, key=natural_key)
        named |= dict.fromkeys(ids, name)
    return named
