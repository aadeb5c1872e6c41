"""Point clouds small enough to embed: 1024 points each, 12 bytes a point, with normals for shading.

A cloud is stored as base64 of three arrays one after the other, read by viewer.js:

    int16  [n,3]  coordinates in the unit sphere times 32767, little-endian
    uint8  [n,3]  colour times 255
    int8   [n,3]  unit normal times 127; its sign is arbitrary
"""

from __future__ import annotations

import base64

import numpy as np
from scipy.spatial import cKDTree

NUM_POINTS = 1024
MAX_SOURCE_POINTS = 4096
_NEIGHBOURS = 10
_GREY = 0.62


def encode_cloud(cloud: np.ndarray, count: int = NUM_POINTS) -> dict[str, object]:
    """Encode one cloud.

    Args:
        cloud: float [P,3] or [P,6], rgb in [0,1]; grey without colours.
        count: points that are kept.

    Returns:
        {"points": base64 text, "spacing": median distance of neighbours after scaling}.
    """
    cloud = cloud[:: -(-len(cloud) // max(MAX_SOURCE_POINTS, count))]
    xyz = cloud[:, :3].astype(np.float64)
    xyz -= (xyz.min(axis=0) + xyz.max(axis=0)) / 2
    xyz /= max(float(np.linalg.norm(xyz, axis=1).max()), 1e-9)
    rgb = cloud[:, 3:6] if cloud.shape[1] == 6 else np.full_like(cloud[:, :3], _GREY)
    chosen = farthest_points(xyz, count)
    normals = surface_normals(xyz[chosen], xyz)
    arrays = (
        np.rint(xyz[chosen] * 32767).astype("<i2"),
        np.rint(np.clip(rgb[chosen], 0, 1) * 255).astype(np.uint8),
        np.rint(normals * 127).astype(np.int8),
    )
    packed = b"".join(array.tobytes() for array in arrays)
    spacing = round(neighbour_distance(xyz[chosen]), 4)
    return {"points": base64.b64encode(packed).decode("ascii"), "spacing": spacing}


def farthest_points(xyz: np.ndarray, count: int) -> np.ndarray:
    """Indices [min(count,P)] of an even subset: each next point is the farthest from the rest."""
    if len(xyz) <= count:
        return np.arange(len(xyz))
    chosen = np.zeros(count, dtype=np.int64)
    distance = np.full(len(xyz), np.inf)
    for step in range(1, count):
        offset = xyz - xyz[chosen[step - 1]]
        np.minimum(distance, np.einsum("pc,pc->p", offset, offset), out=distance)
        chosen[step] = distance.argmax()
    return chosen


def surface_normals(points: np.ndarray, cloud: np.ndarray) -> np.ndarray:
    """Normals [n,3] of unit length: the direction in which the nearest neighbours spread least."""
    count = min(_NEIGHBOURS, len(cloud))
    nearest = cKDTree(cloud).query(points, count)[1].reshape(len(points), count)  # [n,k]
    patches = cloud[nearest]  # [n,k,3]
    patches = patches - patches.mean(axis=1, keepdims=True)
    spread = np.einsum("nki,nkj->nij", patches, patches)
    return np.linalg.eigh(spread)[1][:, :, 0]


def neighbour_distance(points: np.ndarray) -> float:
    """Median distance of a point to its nearest other point; 0.05 for a single point."""
    if len(points) < 2:
        return 0.05
    return float(np.median(cKDTree(points).query(points, 2)[0][:, 1]))
