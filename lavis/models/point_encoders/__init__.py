"""Point encoders by name: point_cloud [B,N,3|6] -> tokens, centers, global feature.

    from lavis.models.point_encoders import build_point_encoder, freeze, load_encoder_checkpoint

    encoder = build_point_encoder({"name": "point_bert", "point_dims": 6})
    load_encoder_checkpoint(encoder, "point_bert_pretrained.pt")
    tokens, centers, global_feature, cls_token = freeze(encoder)(point_cloud)

Names: point_bert, i2p_mae, ppat, pointnet2, pointnet2_unet, sparse_unet, uni3d, voxel_resnet. The
two U-Nets are dense (`DenseEncoder`): a feature for every point. Published weights by release name
(`load_released_encoder`), sizes and axes: docs/encoders.md.
A new encoder is one file with a `@register_point_encoder("name")` class and its import below.
"""

from lavis.models.point_encoders.base import (
    PointEncoder,
    PointEncoderOutput,
    encode_batch,
    freeze,
)
from lavis.models.point_encoders.checkpoint_io import CheckpointReport, load_encoder_checkpoint
from lavis.models.point_encoders.dense import DenseEncoder, DenseEncoding
from lavis.models.point_encoders.grouping import GroupIndices, PointGroups
from lavis.models.point_encoders.i2p_mae import I2pMae, I2pMaeConfig
from lavis.models.point_encoders.point_bert import PointBert, PointBertConfig
from lavis.models.point_encoders.pointnet2 import PointNet2, PointNet2Config
from lavis.models.point_encoders.pointnet2_unet import PointNet2Unet, PointNet2UnetConfig
from lavis.models.point_encoders.ppat import Ppat, PpatConfig
from lavis.models.point_encoders.registry import (
    build_point_encoder,
    point_encoder_names,
    register_point_encoder,
)
from lavis.models.point_encoders.releases import (
    RELEASES,
    Release,
    load_released_encoder,
    release_named,
)
from lavis.models.point_encoders.sparse_unet import SparseUnet, SparseUnetConfig
from lavis.models.point_encoders.uni3d import Uni3d, Uni3dConfig
from lavis.models.point_encoders.voxel_resnet import VoxelResnet, VoxelResnetConfig

__all__ = [
    "RELEASES",
    "CheckpointReport",
    "DenseEncoder",
    "DenseEncoding",
    "GroupIndices",
    "I2pMae",
    "I2pMaeConfig",
    "PointBert",
    "PointBertConfig",
    "PointEncoder",
    "PointEncoderOutput",
    "PointGroups",
    "PointNet2",
    "PointNet2Config",
    "PointNet2Unet",
    "PointNet2UnetConfig",
    "Ppat",
    "PpatConfig",
    "Release",
    "SparseUnet",
    "SparseUnetConfig",
    "Uni3d",
    "Uni3dConfig",
    "VoxelResnet",
    "VoxelResnetConfig",
    "build_point_encoder",
    "encode_batch",
    "freeze",
    "load_encoder_checkpoint",
    "load_released_encoder",
    "point_encoder_names",
    "register_point_encoder",
    "release_named",
]
