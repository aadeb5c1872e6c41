"""Published encoder weights by name: which sizes and switches each file needs.

    from lavis.models.point_encoders import load_released_encoder

    encoder, report = load_released_encoder("openshape_vitg14", "model.pt")

The entries are facts of the official repositories (configuration files and loaders, read at the
state named in docs/encoders.md); nothing is downloaded here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lavis.common.errors import ConfigError, nearest
from lavis.models.point_encoders.base import PointEncoder
from lavis.models.point_encoders.checkpoint_io import CheckpointReport, load_encoder_checkpoint
from lavis.models.point_encoders.registry import build_point_encoder


@dataclass(frozen=True)
class Release:
    """One kind of published file.

    Attributes:
        encoder: the yaml section that fits it.
        source: where it is published.
        note: what to know before using it.
    """

    encoder: Mapping[str, Any]
    source: str
    note: str = field(default="")


def _point_bert(**keys: Any) -> dict[str, Any]:
    return {"name": "point_bert", "num_points": 8192, **keys}


def _openshape(**keys: Any) -> dict[str, Any]:
    return {"name": "ppat", "point_dims": 6, "missing_color": "grey", "num_points": 10000, **keys}


def _uni3d(backbone: str) -> dict[str, Any]:
    return {"name": "uni3d", "backbone": backbone, "num_points": 10000}


_ULIP = "github.com/salesforce/ULIP"
_POINTLLM = "github.com/InternRobotics/PointLLM"
_OPENSHAPE = "huggingface.co/OpenShape"
_UNI3D = "huggingface.co/BAAI/Uni3D"
_YANX27 = "github.com/yanx27/Pointnet_Pointnet2_pytorch"
_POINTBIND = "github.com/ZiyuGuo99/Point-Bind_Point-LLM"

RELEASES: dict[str, Release] = {
    "point_bert": Release(
        _point_bert(),
        "github.com/lulutang0608/Point-BERT",
        "the momentum pair's query half; 64 groups and 1024 points for the pre-training sizes",
    ),
    "ulip_point_bert": Release(_point_bert(), _ULIP, "ULIP and ULIP-2, xyz; also PointBLIP's"),
    "ulip2_point_bert_color": Release(
        _point_bert(depth=18, point_dims=6, num_points=10000, missing_color="grey"),
        _ULIP,
        "ULIP-2 on coloured clouds: 18 blocks",
    ),
    "ulip_pointnet2_ssg": Release({"name": "pointnet2", "num_points": 8192}, _ULIP),
    "gpt4point": Release(
        _point_bert(point_dims=6, missing_color="ones", legacy_color_bug=True),
        "huggingface.co/alexzyqi/GPT4Point (point_encoder_pointbert_wcolor.pth)",
        "trained with xyz in the place of colour: legacy_color_bug",
    ),
    "pointllm": Release(
        _point_bert(point_dims=6),
        _POINTLLM,
        "v1.2, the encoder's own file or the shard of the language model that holds it",
    ),
    "pointllm_v1.1": Release(
        _point_bert(point_dims=6, trans_dim=1152, num_heads=12, group_size=48, encoder_dims=512),
        _POINTLLM,
        "the wide encoder of v1.1 (PointTransformer_base_8192point)",
    ),
    "pointbind_point_bert": Release(_point_bert(), _POINTBIND),
    "pointbind_i2p_mae": Release(
        {"name": "i2p_mae", "num_points": 8192}, f"{_POINTBIND} (pointbind_i2pmae.pt)"
    ),
    "openshape_vitg14": Release(
        _openshape(scaling=4),
        f"{_OPENSHAPE}/openshape-pointbert-vitg14-rgb (also -no-lvis, -shapenet)",
        "z is up",
    ),
    "openshape_vitl14": Release(
        _openshape(scaling=3, num_group=64, radius=0.4, group_size=256, out_dim=768),
        f"{_OPENSHAPE}/openshape-pointbert-vitl14-rgb",
        "y is up",
    ),
    "openshape_vitb32": Release(
        _openshape(scaling=3, num_group=64, radius=0.4, group_size=256, out_dim=None),
        f"{_OPENSHAPE}/openshape-pointbert-vitb32-rgb",
        "y is up; no projection",
    ),
    "mixcon3d": Release(
        _openshape(scaling=3),
        "github.com/UCSC-VLAA/MixCon3D",
        "no weights are published; for checkpoints of its training code",
    ),
    "uni3d_ti": Release(_uni3d("eva02_tiny"), _UNI3D),
    "uni3d_s": Release(_uni3d("eva02_small"), _UNI3D),
    "uni3d_b": Release(_uni3d("eva02_base"), _UNI3D),
    "uni3d_l": Release(_uni3d("eva02_large"), _UNI3D),
    "uni3d_g": Release(_uni3d("eva_giant"), _UNI3D),
    "pointnet2_ssg": Release(
        {"name": "pointnet2", "variant": "ssg", "num_points": 1024}, _YANX27, "without normals"
    ),
    "pointnet2_msg": Release(
        {"name": "pointnet2", "variant": "msg", "num_points": 1024, "point_dims": 6},
        _YANX27,
        "with normals, which a cloud's colour would stand for",
    ),
}


def release_named(name: str) -> Release:
    """Return a release.

    Raises:
        ConfigError: unknown name; the nearest is offered.
    """
    if name not in RELEASES:
        message = f"Unknown release {name!r}.{nearest(name, RELEASES)}"
        raise ConfigError(message, got=name, expected=f"one of {sorted(RELEASES)}")
    return RELEASES[name]


def load_released_encoder(
    name: str, path: str | Path, **changes: Any
) -> tuple[PointEncoder, CheckpointReport]:
    """Build the encoder of a release and load its published file.

    Args:
        name: a key of `RELEASES`.
        path: the file, downloaded before (or exported to .safetensors).
        changes: yaml keys that differ, e.g. ``up_axis="y_to_z"`` or ``num_points=None``.

    Returns:
        The encoder in eval mode, and the report of its keys.

    Raises:
        ConfigError: unknown release or key.
        CheckpointError: missing or damaged file, or keys that do not fit exactly.
    """
    encoder = build_point_encoder({**release_named(name).encoder, **changes})
    report = load_encoder_checkpoint(encoder, path)
    return encoder.eval(), report
