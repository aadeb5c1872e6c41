"""Sparse voxels: grids of occupied cells, neighbour tables, convolution over them.

Nothing to compile: CPU tensors run numba kernels, everything else plain torch
(gather, matrix product, scatter).

    grid, voxel_of_point = voxelize(xyz, cloud, voxel_size=0.05)   # [P,3], Long [P]
    near = neighbours(grid)                                        # 3 x 3 x 3 around every voxel
    coarse, down = coarsen(grid)                                   # 2 x 2 x 2 cells become one
    features = sparse_conv(features, weight, near)                 # [M,C], [27,C,D] -> [M,D]
    features = sparse_conv(features, weight, down)                 # [M,C], [8,C,D] -> [M',D]
    features = sparse_conv(features, weight, down.transposed)      # [M',C], [8,C,D] -> [M,D]
"""

from lavis.models.voxel_ops.convolution import sparse_conv
from lavis.models.voxel_ops.grid import KernelMap, VoxelGrid, coarsen, neighbours, voxelize

__all__ = ["KernelMap", "VoxelGrid", "coarsen", "neighbours", "sparse_conv", "voxelize"]
