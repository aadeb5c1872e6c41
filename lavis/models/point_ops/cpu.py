"""Compiled CPU back end: numba kernels, one cloud each, on threads over the batch.

Threads are plain Python threads around nogil kernels, as many as `torch.get_num_threads()`, and
live for one call: no thread pool to survive a fork, so the operators are safe in DataLoader
workers (where torch uses one thread and no thread is started). Machine code is cached beside
`kernels.py` or, when that folder is read-only, in numba's user cache.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from lavis.models.point_ops.kernels import find_in_ball, find_nearest, sample_farthest


def _each_cloud(kernel: Callable[[int], None], batch_size: int) -> None:
    """Call kernel(0) … kernel(B-1), on as many threads as torch uses."""
    threads = min(batch_size, torch.get_num_threads())
    if threads == 1:
        for row in range(batch_size):
            kernel(row)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(kernel, range(batch_size)))  # list() re-raises a kernel's exception


def _clouds(xyz: Tensor, lengths: Tensor) -> list[np.ndarray]:
    """Return the valid points of every cloud of xyz [B,N,3] as contiguous float32 [n,3]."""
    return [cloud[:count] for cloud, count in zip(xyz.contiguous().numpy(), lengths.tolist())]


def farthest_point_sample(xyz: Tensor, num_samples: int, start: Tensor, lengths: Tensor) -> Tensor:
    """Sample [B,S] of float32 xyz [B,N,3] from the first picks `start` [B]."""
    clouds, first = _clouds(xyz, lengths), start.tolist()
    picked = torch.empty(xyz.shape[0], num_samples, dtype=torch.long)
    rows = picked.numpy()
    _each_cloud(lambda row: sample_farthest(clouds[row], first[row], rows[row]), xyz.shape[0])
    return picked


def knn(query: Tensor, xyz: Tensor, k: int, lengths: Tensor) -> Tensor:
    """Return [B,S,k] nearest indices, sorted by (distance, index), for float32 inputs."""
    clouds, queries = _clouds(xyz, lengths), query.contiguous().numpy()
    neighbors = torch.empty(*query.shape[:2], k, dtype=torch.long)
    rows = neighbors.numpy()
    _each_cloud(lambda row: find_nearest(clouds[row], queries[row], rows[row]), xyz.shape[0])
    return neighbors


def ball_query(
    query: Tensor, xyz: Tensor, squared_radius: float, k: int, lengths: Tensor
) -> Tensor:
    """Return [B,S,k] lowest indices with squared distance < squared_radius, padded with the first.

    An empty ball gives index 0.
    """
    clouds, queries = _clouds(xyz, lengths), query.contiguous().numpy()
    neighbors = torch.empty(*query.shape[:2], k, dtype=torch.long)
    rows, limit = neighbors.numpy(), np.float32(squared_radius)
    _each_cloud(lambda row: find_in_ball(clouds[row], queries[row], limit, rows[row]), xyz.shape[0])
    return neighbors
