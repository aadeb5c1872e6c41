"""Chamfer distances of one cloud to many, by comparing all points: fast for small clouds.

512 points against 512: 0.2 ms a pair, a third of what two k-d trees need. It releases the lock, so
threads share the work (numba's own threads would not survive a loader that forks).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lavis.common.compiled import compiled

_LANES = {"nnan", "ninf", "nsz", "reassoc", "contract"}  # minima and sums of finite numbers only


def chamfer_distances(cloud: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the mean distance to the nearest point of the other cloud, averaged both ways.

    Args:
        cloud: [P,3], finite.
        others: [K,R,3], finite.

    Returns:
        float64 [K].
    """
    own = np.ascontiguousarray(cloud.T, dtype=np.float32)  # [3,P]
    columns = np.ascontiguousarray(others.transpose(0, 2, 1), dtype=np.float32)  # [K,3,R]
    return _distances(own, columns)


@compiled(nogil=True, fastmath=_LANES)
def _distances(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    found = np.empty(others.shape[0], dtype=np.float64)
    for k in range(others.shape[0]):
        back = np.full(others.shape[2], np.inf, dtype=np.float32)
        x, y, z = others[k, 0], others[k, 1], others[k, 2]
        forth = 0.0
        for i in range(own.shape[1]):
            forth += np.sqrt(_nearest(own[0, i], own[1, i], own[2, i], x, y, z, back))
        found[k] = (forth / own.shape[1] + np.sqrt(back).mean()) / 2
    return found


@njit(fastmath=_LANES, inline="always")
def _nearest(px, py, pz, x, y, z, back):  # type: ignore[no-untyped-def]  # numba infers
    """Return the squared distance to the nearest point; lower `back` to this point's distances."""
    best = np.float32(np.inf)
    for j in range(x.shape[0]):
        dx, dy, dz = x[j] - px, y[j] - py, z[j] - pz
        square = dx * dx + dy * dy + dz * dz
        back[j] = min(back[j], square)
        best = min(best, square)
    return best
