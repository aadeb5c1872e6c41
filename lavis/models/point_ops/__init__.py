"""Point operators: farthest-point sampling, nearest neighbours, gathering and grouping.

Exact and deterministic: every back end returns the same indices, ties and duplicates included.
Nothing to compile: CPU tensors run numba kernels, other devices run plain torch.

    from lavis.models.point_ops import farthest_point_sample, knn, gather_points, group_points

    center_index = farthest_point_sample(xyz, 512)      # [B,N,3] -> [B,512]
    center = gather_points(xyz, center_index)           # [B,512,3]
    neighbor_index = knn(center, xyz, 32)               # [B,512,32]
    neighborhood = group_points(xyz, neighbor_index, center)  # [B,512,32,3]
"""

from lavis.models.point_ops.ops import (
    BACKENDS,
    farthest_point_sample,
    gather_points,
    group_points,
    knn,
    resolve_backend,
)

__all__ = [
    "BACKENDS",
    "farthest_point_sample",
    "gather_points",
    "group_points",
    "knn",
    "resolve_backend",
]
