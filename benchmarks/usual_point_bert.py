"""Point-BERT as public repositories run it: what `stage1_step.py` measures our encoding against.

On the same parameters: a torch loop for the sampling, neighbours by the expanded square distance,
and the mini-PointNet layer by layer. The transformer's blocks are ours on both sides (fused and
written-out attention take the same time on CPU).
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.point_encoders import usual as usual_mini_pointnet
from benchmarks.point_ops import usual_fps, usual_knn
from lavis.models.point_encoders.grouping import collect_groups
from lavis.models.point_encoders.point_bert import PointBert


@torch.no_grad()
def usual_point_tokens(encoder: PointBert, point_cloud: Tensor) -> Tensor:
    """Encode clouds [B,N,3] to point tokens [B,G,D]."""
    xyz = point_cloud[..., :3]
    center_index = usual_fps(xyz, encoder.config.num_group)  # [B,G]
    center = xyz.gather(1, center_index[..., None].expand(-1, -1, 3))
    neighbor_index = usual_knn(center, xyz, encoder.config.group_size)  # [B,G,S]
    groups = collect_groups(point_cloud, (center_index, neighbor_index))
    tokens = encoder.reduce_dim(usual_mini_pointnet(encoder.encoder, groups.neighborhood))
    rows = len(tokens)
    tokens = torch.cat([encoder.cls_token.expand(rows, -1, -1), tokens], dim=1)
    position = torch.cat(
        [encoder.cls_pos.expand(rows, -1, -1), encoder.pos_embed(groups.center)], dim=1
    )
    return encoder.norm(encoder.blocks(tokens, position))[:, 1:]
