"""Compiled CPU back end: numba kernels over clouds, on threads over the batch.

Threads are plain Python threads around nogil kernels, as many as `torch.get_num_threads()`, and
live for one call: no thread pool to survive a fork, so the operators are safe in DataLoader
workers (where torch uses one thread and no thread is started). Machine code is cached beside
`kernels.py` or, when that folder is read-only, in numba's user cache.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import Tensor

from lavis.models.point_ops.kernels import find_in_ball, find_nearest, sample_farthest


def in_shares(kernel: Callable[[int, int], None], batch_size: int) -> None:
    """Call kernel(first, last) over parts of the batch, on as many threads as torch uses.

    A kernel reuses its memory within a part. A few parts per thread: clouds differ in size.
    """
    threads = min(batch_size, torch.get_num_threads())
    if threads == 1:
        kernel(0, batch_size)
        return
    parts = min(batch_size, 4 * threads)
    edges = [part * batch_size // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(kernel, edges[:-1], edges[1:]))  # list() re-raises a kernel's exception


def _array(tensor: Tensor) -> np.ndarray:
    """Return the C-contiguous array that a kernel reads."""
    return tensor.contiguous().numpy()


def farthest_point_sample(xyz: Tensor, num_samples: int, start: Tensor, lengths: Tensor) -> Tensor:
    """Sample [B,S] of float32 xyz [B,N,3] from the first picks `start` [B]."""
    picked = torch.empty(xyz.shape[0], num_samples, dtype=torch.long)
    arrays = (_array(xyz), _array(lengths), _array(start))
    in_shares(partial(sample_farthest, *arrays, picked.numpy()), xyz.shape[0])
    return picked


def knn(query: Tensor, xyz: Tensor, k: int, lengths: Tensor) -> Tensor:
    """Return [B,S,k] nearest indices, sorted by (distance, index), for float32 inputs."""
    neighbors = torch.empty(*query.shape[:2], k, dtype=torch.long)
    arrays = (_array(xyz), _array(lengths), _array(query))
    in_shares(partial(find_nearest, *arrays, neighbors.numpy()), xyz.shape[0])
    return neighbors


def ball_query(
    query: Tensor, xyz: Tensor, squared_radius: float, k: int, lengths: Tensor
) -> Tensor:
    """Return [B,S,k] lowest indices with squared distance < squared_radius, padded with the first.

    An empty ball gives index 0.
    """
    neighbors = torch.empty(*query.shape[:2], k, dtype=torch.long)
    arrays = (_array(xyz), _array(lengths), _array(query))
    limit = np.float32(squared_radius)
    in_shares(partial(find_in_ball, *arrays, limit, neighbors.numpy()), xyz.shape[0])
    return neighbors
