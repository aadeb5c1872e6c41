"""PointNet++ as a U-Net: a feature for every point, for dense tasks.

Qi et al., arXiv:1706.02413; sizes and parameter names of the S3DIS semantic-segmentation models of
Pointnet_Pointnet2_pytorch (SSG and MSG), without their classifier. The published S3DIS weights
read nine channels (xyz, rgb, place in the room); ours reads the three or six of a cloud, so only
the first layers' input differs (`sa1.*.0.weight`, a shape mismatch that cannot be accepted).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lavis.models.point_encoders.cloud_input import valid_rows
from lavis.models.point_encoders.config import refuse
from lavis.models.point_encoders.dense import DenseEncoder, DenseEncoding
from lavis.models.point_encoders.folding import affine_norm_relu, affine_of
from lavis.models.point_encoders.pointnet2 import PointNet2Config
from lavis.models.point_encoders.registry import register_point_encoder
from lavis.models.point_encoders.set_abstraction import (
    FeaturePropagation,
    MultiScaleAbstraction,
    SetAbstraction,
)
from lavis.models.point_ops import three_nearest

# variant: widths of the four levels; MSG's per scale, with radii (first of the two) and samples.
_SSG = ((32, 32, 64), (64, 64, 128), (128, 128, 256), (256, 256, 512))
_MSG = (
    ((16, 16, 32), (32, 32, 64)),
    ((64, 64, 128), (64, 96, 128)),
    ((128, 196, 256), (128, 196, 256)),
    ((256, 256, 512), (256, 384, 512)),
)
_RADII = (0.1, 0.2, 0.4, 0.8)  # SSG's; MSG adds half of each
_PROPAGATION = ((128, 128, 128), (256, 128), (256, 256), (256, 256))  # finest level first


@dataclass(frozen=True)
class PointNet2UnetConfig(PointNet2Config):
    """Keys of the U-Net; the defaults are the published sizes. `dropout` is that of the release
    before its classifier.

    Attributes:
        num_groups: centres of the four levels.
    """

    num_groups: tuple[int, ...] = (1024, 256, 64, 16)
    dropout: float = 0.5

    levels = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_points is not None:
            refuse("num_points", self.num_points, "null: every point of the cloud is a token")


class UnetState(NamedTuple):
    """What the decoder half needs.

    Attributes:
        xyz, features: [B,N_l,3] and [B,N_l,D_l] of the levels, the points' own first.
        valid: bool [B,N'], prepared points that are no padding; None: all.
        given: N, points of the caller's clouds.
    """

    xyz: list[Tensor]
    features: list[Tensor]
    valid: Tensor | None
    given: int


@register_point_encoder("pointnet2_unet")
class PointNet2Unet(DenseEncoder):
    """Per-point encoder: tokens [B,N,128] are the points' features, centers their coordinates.

    The global feature is the maximum over the coarsest level.
    """

    config: PointNet2UnetConfig
    config_class = PointNet2UnetConfig
    published_extras = ("conv2.*",)  # the classifier

    def __init__(self, config: PointNet2UnetConfig | None = None) -> None:
        config = config or PointNet2UnetConfig()
        super().__init__(config, min_points=config.num_groups[0])
        radii = config.radii(*_RADII)
        widths = [config.point_dims]
        for level, (num_center, radius) in enumerate(zip(config.num_groups, radii)):
            if config.variant == "ssg":
                layer: nn.Module = SetAbstraction(num_center, radius, 32, widths[-1], _SSG[level])
                widths.append(_SSG[level][-1])
            else:
                layer = MultiScaleAbstraction(
                    num_center, (radius / 2, radius), (16, 32), widths[-1], _MSG[level]
                )
                widths.append(sum(scale[-1] for scale in _MSG[level]))
            self.add_module(f"sa{level + 1}", layer)
        carried = widths[-1]
        for level in (4, 3, 2, 1):
            skip = widths[level - 1] if level > 1 else 0
            mixed = FeaturePropagation(skip + carried, _PROPAGATION[level - 1])
            self.add_module(f"fp{level}", mixed)
            carried = _PROPAGATION[level - 1][-1]
        self.embed_dim, self.token_dim, self.num_tokens = 128, widths[-1], None
        self.global_dim = widths[-1]
        self.conv1, self.bn1 = nn.Conv1d(128, 128, 1), nn.BatchNorm1d(128)
        self.drop1 = nn.Dropout(config.dropout)

    def encode(self, point_cloud: Tensor, *, lengths: Tensor | None = None) -> DenseEncoding:
        """Make tokens of the coarsest level's centres; a point's are the three nearest."""
        points = self.prepare(point_cloud, lengths)
        counts = self.prepared_lengths(lengths)
        xyz = [points[..., :3].contiguous()]
        features = [points]
        start = self.first_center(xyz[0], counts)
        for level in range(1, 5):
            layer = self.get_submodule(f"sa{level}")
            center, abstract = layer(xyz[-1], features[-1], start, counts if level == 1 else None)
            xyz.append(center)
            features.append(abstract)
            start = 0
        valid = None if counts is None else valid_rows(counts, points.shape[1])  # [B,N]
        given = point_cloud.shape[1]  # clouds that were too small have been repeated
        real = None if lengths is None else valid_rows(lengths, given)
        state = UnetState(xyz, features, valid, given)
        return self._encoding(state, real)

    def _encoding(self, state: UnetState, real: Tensor | None) -> DenseEncoding:
        """Describe the tokens of the points, of which `real` [B,N] are not padding."""
        tokens, center = state.features[-1], state.xyz[-1]
        batch, count = center.shape[:2]
        index, weight = three_nearest(state.xyz[0][:, : state.given], center)
        row = torch.arange(batch, device=index.device)
        if real is not None:
            weight = weight * real[..., None]
        edge = self.config.radius_scale * _RADII[-1]
        place = (center / edge).floor().long()  # [B,G,3]
        return DenseEncoding(
            tokens=tokens.flatten(0, 1),
            cloud=row.repeat_interleave(count),
            centers=self.cloud_axes(center).flatten(0, 1),
            cells=(place - place.amin(1, keepdim=True)).flatten(0, 1),
            index=index + row[:, None, None] * count,
            weight=weight,
            global_feature=tokens.amax(dim=1),
            state=state,
        )

    def decode(self, encoding: DenseEncoding, tokens: Tensor) -> Tensor:
        """Make features of points [B,N,128] of tokens [T,d]."""
        xyz, features, valid, given = encoding.state
        carried = tokens.view_as(features[-1])
        for level in (4, 3, 2, 1):
            skip = features[level - 1] if level > 1 else None
            real = valid if level == 1 else None
            fine, coarse = xyz[level - 1], xyz[level]
            carried = self.get_submodule(f"fp{level}")(fine, coarse, skip, carried, real)
        points = self.drop1(affine_norm_relu(carried, affine_of(self.conv1), self.bn1))
        if valid is not None:  # back from the M real points to [B,N,128]
            points = points.new_zeros(*valid.shape, self.embed_dim).masked_scatter(
                valid[..., None], points
            )
        return points[:, :given]
