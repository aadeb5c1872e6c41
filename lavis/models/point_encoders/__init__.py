"""Point encoders by name: point_cloud [B,N,3|6] -> tokens, centers, global feature.

    from lavis.models.point_encoders import build_point_encoder, freeze, load_encoder_checkpoint

    encoder = build_point_encoder({"name": "point_bert", "point_dims": 6})
    load_encoder_checkpoint(encoder, "point_bert_pretrained.pt")
    tokens, centers, global_feature, cls_token = freeze(encoder)(point_cloud)

A new encoder is one file with a `@register_point_encoder("name")` class and its import below.
"""

from lavis.models.point_encoders.base import (
    GroupIndices,
    PointEncoder,
    PointEncoderOutput,
    PointGroups,
    freeze,
)
from lavis.models.point_encoders.checkpoint_io import CheckpointReport, load_encoder_checkpoint
from lavis.models.point_encoders.point_bert import PointBert, PointBertConfig
from lavis.models.point_encoders.registry import (
    build_point_encoder,
    point_encoder_names,
    register_point_encoder,
)

__all__ = [
    "CheckpointReport",
    "GroupIndices",
    "PointBert",
    "PointBertConfig",
    "PointEncoder",
    "PointEncoderOutput",
    "PointGroups",
    "build_point_encoder",
    "freeze",
    "load_encoder_checkpoint",
    "point_encoder_names",
    "register_point_encoder",
]
