"""PointNet++ as a U-Net: a feature for every point, for dense tasks.

Qi et al., arXiv:1706.02413; sizes and parameter names of the S3DIS semantic-segmentation models of
Pointnet_Pointnet2_pytorch (SSG and MSG), without their classifier. The published S3DIS weights
read nine channels (xyz, rgb, place in the room); ours reads the three or six of a cloud, so only
the first layers' input differs (`sa1.*.0.weight`, a shape mismatch that cannot be accepted).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from lavis.models.point_encoders.base import PointEncoder, PointEncoderOutput
from lavis.models.point_encoders.cloud_input import blank_padding, valid_rows
from lavis.models.point_encoders.config import refuse
from lavis.models.point_encoders.folding import affine_norm_relu, affine_of
from lavis.models.point_encoders.pointnet2 import PointNet2Config
from lavis.models.point_encoders.registry import register_point_encoder
from lavis.models.point_encoders.set_abstraction import (
    FeaturePropagation,
    MultiScaleAbstraction,
    SetAbstraction,
)

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


@register_point_encoder("pointnet2_unet")
class PointNet2Unet(PointEncoder):
    """Per-point encoder: tokens [B,N,128] are the points' features, centers their coordinates.

    The global feature is the maximum over the coarsest level.
    """

    config: PointNet2UnetConfig
    config_class = PointNet2UnetConfig
    reads_lengths = True
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
        self.embed_dim, self.global_dim, self.num_tokens = 128, widths[-1], None
        self.conv1, self.bn1 = nn.Conv1d(128, 128, 1), nn.BatchNorm1d(128)
        self.drop1 = nn.Dropout(config.dropout)

    def forward(self, point_cloud: Tensor, *, lengths: Tensor | None = None) -> PointEncoderOutput:
        """Encode every point.

        Args:
            point_cloud: [B,N,3|6], xyz in the unit sphere, rgb in [0,1].
            lengths: Long [B], points of each cloud when they are padded.

        Returns:
            tokens [B,N,128] (zero where padded), centers [B,N,3] (the points), global_feature
            [B,F], no class token.

        Raises:
            ShapeError: see `check_point_cloud`.
        """
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
        global_feature = features[-1].amax(dim=1)

        valid = None if counts is None else valid_rows(counts, points.shape[1])  # [B,N]
        carried = features[-1]
        for level in (4, 3, 2, 1):
            skip = features[level - 1] if level > 1 else None
            real = valid if level == 1 else None
            fine, coarse = xyz[level - 1], xyz[level]
            carried = self.get_submodule(f"fp{level}")(fine, coarse, skip, carried, real)
        tokens = self.drop1(affine_norm_relu(carried, affine_of(self.conv1), self.bn1))
        if valid is not None:  # back from the M real points to [B,N,128]
            tokens = tokens.new_zeros(*valid.shape, self.embed_dim).masked_scatter(
                valid[..., None], tokens
            )
        given = point_cloud.shape[1]  # clouds that were too small have been repeated
        centers = point_cloud if lengths is None else blank_padding(point_cloud, lengths)
        return PointEncoderOutput(tokens[:, :given], centers[..., :3].float(), global_feature)
