"""Compiled CPU point operators: numba kernels over one cloud, threads over the batch.

The indices equal `reference.py` bit for bit: distances are compiled without fast-math, so LLVM
neither fuses nor reorders their roundings. A maximum of floats does not vectorise that way, but
distances are never negative and never NaN, so their int32 bits have the same order and do.

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

# Points per block: the block maximum decides which block is searched for the arg-max; the four
# arrays of a block stay in the L1 cache.
_FPS_BLOCK = 512

# Point i belongs to lane i % lanes, so lane minima are element-wise and vectorise as they are.
_KNN_LANES = 256


@numba.njit(nogil=True, cache=True)
def _maximum(bits: np.ndarray) -> np.int32:
    """Return the largest of the bits [n] of non-negative float32 values."""
    largest = np.int32(-1)
    for i in range(bits.shape[0]):
        largest = bits[i] if bits[i] > largest else largest
    return largest


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
    bits = nearest.view(np.int32)
    farthest = start
    for step in range(picked.shape[0]):
        picked[step] = farthest
        cx, cy, cz = x[farthest], y[farthest], z[farthest]
        best = np.int32(-1)
        best_block = 0
        for low in range(0, num_points, _FPS_BLOCK):
            high = min(low + _FPS_BLOCK, num_points)
            _lower(x[low:high], y[low:high], z[low:high], cx, cy, cz, nearest[low:high])
            largest = _maximum(bits[low:high])
            if largest > best:  # strict: the first block of equal maxima stays
                best = largest
                best_block = low
        farthest = best_block
        while bits[farthest] != best:
            farthest += 1


@numba.njit(nogil=True, cache=True)
def _distances(x, y, z, qx, qy, qz, distance, lane_minimum) -> None:
    """Write distance [N] to a query and, per lane j, the minimum over distance[j::lanes]."""
    lanes = lane_minimum.shape[0]
    lane_minimum[:] = np.float32(np.inf)
    for low in range(0, x.shape[0], lanes):
        width = min(lanes, x.shape[0] - low)
        row_x, row_y, row_z = x[low : low + width], y[low : low + width], z[low : low + width]
        row, least = distance[low : low + width], lane_minimum[:width]
        for j in range(width):
            dx = row_x[j] - qx
            dy = row_y[j] - qy
            dz = row_z[j] - qz
            value = dx * dx + dy * dy + dz * dz
            row[j] = value
            least[j] = value if value < least[j] else least[j]


@numba.njit(nogil=True, cache=True)
def _bound(lane_bits, k) -> np.int32:
    """Return bits that at least k lane minima do not exceed, and few more, by bisection."""
    high = _maximum(lane_bits)
    low = np.int32(0)
    while low < high:
        middle = low + ((high - low) >> 1)
        count = np.int32(0)
        for lane in range(lane_bits.shape[0]):
            count += np.int32(lane_bits[lane] <= middle)
        if count < k:
            low = middle + 1
        else:
            high = middle
            if count <= k + (k >> 2):
                break
    return high


@numba.njit(nogil=True, cache=True)
def _keep(distance, index, count, kept, kept_index) -> int:
    """Insert an entry into the kept ones, sorted by (distance, index); return their number."""
    k = kept.shape[0]
    if count == k:
        last = k - 1
        if distance > kept[last] or (distance == kept[last] and index > kept_index[last]):
            return count
        slot = last
    else:
        slot = count
        count += 1
    while slot > 0 and (
        kept[slot - 1] > distance or (kept[slot - 1] == distance and kept_index[slot - 1] > index)
    ):
        kept[slot] = kept[slot - 1]
        kept_index[slot] = kept_index[slot - 1]
        slot -= 1
    kept[slot] = distance
    kept_index[slot] = index
    return count


@numba.njit(nogil=True, cache=True)
def _knn_cloud(query, axes, neighbors) -> None:
    """Fill neighbors [S,k] for query [S,3] in one cloud axes [3,N].

    A value that k lane minima do not exceed bounds the k-th smallest distance from above, because
    these k lanes hold a point each; only lanes that reach below it are looked at again.
    """
    x, y, z = axes[0], axes[1], axes[2]
    num_points = x.shape[0]
    k = neighbors.shape[1]
    lanes = max(_KNN_LANES, 4 * k)
    distance = np.empty(num_points, dtype=np.float32)
    distance_bits = distance.view(np.int32)
    lane_minimum = np.empty(lanes, dtype=np.float32)
    lane_bits = lane_minimum.view(np.int32)
    kept = np.empty(k, dtype=np.float32)
    kept_index = np.empty(k, dtype=np.int64)
    for row in range(query.shape[0]):
        _distances(x, y, z, query[row, 0], query[row, 1], query[row, 2], distance, lane_minimum)
        bound = _bound(lane_bits, k)  # infinite when some lanes have no point
        count = 0
        for lane in range(min(lanes, num_points)):
            if lane_bits[lane] <= bound:
                for i in range(lane, num_points, lanes):
                    if distance_bits[i] <= bound:
                        count = _keep(distance[i], i, count, kept, kept_index)
        neighbors[row, :] = kept_index


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
