"""Point operators: sampling, neighbour searches, grouping, interpolation, chamfer distance.

Exact and deterministic: every back end returns the same indices, ties and duplicates included.
Nothing to compile: CPU tensors run numba kernels, CUDA tensors Triton or plain torch.

    from lavis.models.point_ops import farthest_point_sample, knn, gather_points, group_points

    center_index = farthest_point_sample(xyz, 512)      # [B,N,3] -> [B,512]
    center = gather_points(xyz, center_index)           # [B,512,3]
    neighbor_index = knn(center, xyz, 32)               # [B,512,32]
    neighborhood = group_points(xyz, neighbor_index, center)  # [B,512,32,3]

The guide with padding rules and clouds of varying size is docs/point_ops.md.
"""

from lavis.models.point_ops.backends import BACKENDS, has_triton, resolve_backend
from lavis.models.point_ops.chamfer import chamfer_distance
from lavis.models.point_ops.gather import gather_points, group_points
from lavis.models.point_ops.interpolate import three_interpolate, three_nearest
from lavis.models.point_ops.ops import ball_query, farthest_point_sample, knn

__all__ = [
    "BACKENDS",
    "ball_query",
    "chamfer_distance",
    "farthest_point_sample",
    "gather_points",
    "group_points",
    "has_triton",
    "knn",
    "resolve_backend",
    "three_interpolate",
    "three_nearest",
]
