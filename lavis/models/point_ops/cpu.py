"""Compiled CPU point operators: numba kernels over one cloud, threads over the batch.

The indices equal `reference.py` bit for bit. Distances are compiled without fast-math, so LLVM
neither fuses nor reorders their roundings; only the maximum and minimum over already rounded,
never-NaN, never-negative distances carry `nnan nsz`, which lets LLVM vectorise them and cannot
change a value.

Threads are plain Python threads around nogil kernels, as many as `torch.get_num_threads()`, and
live for one call: no thread pool to survive a fork, so the operators are safe in DataLoader
workers (where torch uses one thread and no thread is started). Machine code is cached beside this
file or, when that folder is read-only, in numba's user cache.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import torch
from torch import Tensor

# Points per block: the block maximum decides which block is searched for the arg-max, and a block
# whose minimum is too far is skipped whole by kNN. 256 floats x 4 arrays stay in the L1 cache.
_FPS_BLOCK = 512
_KNN_BLOCK = 64

_ORDERED = {"nnan", "nsz"}


@numba.njit(nogil=True, cache=True, fastmath=_ORDERED)
def _maximum(values: np.ndarray) -> np.float32:
    """Return the largest of non-negative, non-NaN values."""
    largest = np.float32(-1.0)
    for i in range(values.shape[0]):
        largest = max(largest, values[i])
    return largest


@numba.njit(nogil=True, cache=True, fastmath=_ORDERED)
def _minimum(values: np.ndarray) -> np.float32:
    """Return the smallest of non-negative, non-NaN values."""
    smallest = np.float32(np.inf)
    for i in range(values.shape[0]):
        smallest = min(smallest, values[i])
    return smallest


@numba.njit(nogil=True, cache=True)
def _distances(x, y, z, center_x, center_y, center_z, out) -> None:
    """Write squared distances of points x, y, z [n] to one centre into out [n]."""
    for i in range(out.shape[0]):
        dx = x[i] - center_x
        dy = y[i] - center_y
        dz = z[i] - center_z
        out[i] = dx * dx + dy * dy + dz * dz


@numba.njit(nogil=True, cache=True)
def _lower(x, y, z, center_x, center_y, center_z, nearest) -> None:
    """Lower nearest [n], the distance to all picks so far, by the distance to a new pick."""
    for i in range(nearest.shape[0]):
        dx = x[i] - center_x
        dy = y[i] - center_y
        dz = z[i] - center_z
        distance = dx * dx + dy * dy + dz * dz
        nearest[i] = distance if distance < nearest[i] else nearest[i]


@numba.njit(nogil=True, cache=True)
def _fps_cloud(axes, start, picked) -> None:
    """Fill picked [S] for one cloud axes [3,N]."""
    x, y, z = axes[0], axes[1], axes[2]
    num_points = x.shape[0]
    nearest = np.full(num_points, np.float32(np.inf), dtype=np.float32)
    farthest = start
    for step in range(picked.shape[0]):
        picked[step] = farthest
        cx, cy, cz = x[farthest], y[farthest], z[farthest]
        best = np.float32(-1.0)
        best_block = 0
        for low in range(0, num_points, _FPS_BLOCK):
            high = min(low + _FPS_BLOCK, num_points)
            _lower(x[low:high], y[low:high], z[low:high], cx, cy, cz, nearest[low:high])
            largest = _maximum(nearest[low:high])
            if largest > best:  # strict: the first block of equal maxima stays
                best = largest
                best_block = low
        farthest = best_block
        while nearest[farthest] != best:
            farthest += 1


@numba.njit(nogil=True, cache=True)
def _insert(distance, index, count, kept_distance, kept_index) -> None:
    """Insert behind all kept entries that are not farther: equal distances keep index order."""
    slot = count
    while slot > 0 and kept_distance[slot - 1] > distance:
        kept_distance[slot] = kept_distance[slot - 1]
        kept_index[slot] = kept_index[slot - 1]
        slot -= 1
    kept_distance[slot] = distance
    kept_index[slot] = index


@numba.njit(nogil=True, cache=True)
def _knn_cloud(query, axes, neighbors) -> None:
    """Fill neighbors [S,k] for query [S,3] in one cloud axes [3,N], scanning in index order."""
    x, y, z = axes[0], axes[1], axes[2]
    num_points = x.shape[0]
    k = neighbors.shape[1]
    block = np.empty(_KNN_BLOCK, dtype=np.float32)
    kept = np.empty(k + 1, dtype=np.float32)  # one spare slot takes the entry that drops out
    kept_index = np.empty(k + 1, dtype=np.int64)
    for row in range(query.shape[0]):
        qx, qy, qz = query[row, 0], query[row, 1], query[row, 2]
        count = 0
        for low in range(0, num_points, _KNN_BLOCK):
            high = min(low + _KNN_BLOCK, num_points)
            distance = block[: high - low]
            _distances(x[low:high], y[low:high], z[low:high], qx, qy, qz, distance)
            # A later point at the same distance loses to every kept one, hence "not smaller".
            if count == k and not _minimum(distance) < kept[k - 1]:
                continue
            for i in range(high - low):
                if count < k:
                    _insert(distance[i], low + i, count, kept, kept_index)
                    count += 1
                elif distance[i] < kept[k - 1]:
                    _insert(distance[i], low + i, k, kept, kept_index)
        neighbors[row, :] = kept_index[:k]


def _each_cloud(kernel: Callable[[int], None], batch_size: int) -> None:
    """Call kernel(0) … kernel(B-1), on as many threads as torch uses."""
    threads = min(batch_size, torch.get_num_threads())
    if threads == 1:
        for row in range(batch_size):
            kernel(row)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(kernel, range(batch_size)))  # list() re-raises a kernel's exception


def _axes(xyz: Tensor) -> np.ndarray:
    """Return xyz [B,N,3] as contiguous float32 [B,3,N]: one array per axis vectorises."""
    return xyz.transpose(1, 2).contiguous().numpy()


def farthest_point_sample(xyz: Tensor, num_samples: int, start: Tensor) -> Tensor:
    """Sample [B,S] of float32 xyz [B,N,3] from the first picks `start` [B]."""
    axes, first = _axes(xyz), start.tolist()
    picked = torch.empty(xyz.shape[0], num_samples, dtype=torch.long)
    rows = picked.numpy()
    _each_cloud(lambda row: _fps_cloud(axes[row], first[row], rows[row]), xyz.shape[0])
    return picked


def knn(query: Tensor, xyz: Tensor, k: int) -> Tensor:
    """Return [B,S,k] nearest indices, sorted by (distance, index), for float32 inputs."""
    axes, queries = _axes(xyz), query.contiguous().numpy()
    neighbors = torch.empty(*query.shape[:2], k, dtype=torch.long)
    rows = neighbors.numpy()
    _each_cloud(lambda row: _knn_cloud(queries[row], axes[row], rows[row]), xyz.shape[0])
    return neighbors
