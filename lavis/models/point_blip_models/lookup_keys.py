"""Keys that neighbours are looked up by: occupancy and size, the encoder's feature, or both.

CIDEr of the nearest caption and share of right categories on val of bricks v2 (docs/LOG.md), with
the Point-BERT of `make full`: shape 105.5 and 45.6, encoder 78.4 and 45.6, joint 111.7 and 47.6.
With the voxel network and own sizes: shape 113.6 and 44.4, head 131.8 and 52.3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lavis.common.errors import ConfigError
from lavis.models.point_blip_models.occupancy import occupancy
from lavis.models.point_encoders import encode_batch
from lavis.models.point_encoders.base import PointEncoder
from lavis.models.point_encoders.object_head import ObjectHead
from lavis.models.point_encoders.object_size import log2_edges

LOOKUPS = ("joint", "shape", "encoder", "head")
_GRID = 8  # CIDEr of the nearest caption on val by cells along an axis: 4 86.6, 6 94.1, 8 105.5
# Weights of the squared log box beside root histograms (0.2 and 1 are 90.6 and 97.5, 0.5 94.1 with
# 6 cells) and beside the encoder's unit features, which are nearer to each other.
_BOX_WEIGHT, _BOX_WEIGHT_ENCODER = 0.5, 0.05
_SHAPE_WEIGHT_HEAD = 0.5  # beside unit features of the head: 0 124.1, 0.3 131.6, 0.5 131.8
_OCTAVE = math.log(2)


def check_lookup(lookup: str, encoder_is_frozen: bool, has_head: bool) -> None:
    """Refuse a lookup in an embedding that is not there, or that training changes.

    The pool is embedded once.

    Raises:
        ConfigError: the encoder is trained, and the lookup reads it; or the lookup reads a head
            and there is none, or the reverse.
    """
    where = "model.retrieval_lookup"
    if lookup != "shape" and not encoder_is_frozen:
        what = "neighbours are looked up in an encoder that is trained"
        fix = "set freeze_point_encoder: True, or retrieval_lookup: shape"
        raise ConfigError(what, where=where, got=lookup, fix=fix)
    if has_head != (lookup == "head"):
        what = "the lookup `head` and model.retrieval_head belong together"
        raise ConfigError(what, where=where, got=f"{lookup}, head given: {has_head}")


@torch.no_grad()
def lookup_keys(
    encoder: PointEncoder,
    samples: Mapping[str, Any],
    lookup: str,
    head: ObjectHead | None = None,
) -> Tensor:
    """Return rows whose squared distance orders neighbours: float32 [B,F].

    Args:
        encoder: frozen, for all lookups but `shape`.
        samples: `point_cloud` [B,N,3|6], `lengths` where padded; `box_size` [B,3] where known. A
            control may look up other objects: `lookup_cloud`, a list of B clouds [N,3|6], and
            `lookup_box` [B,3].
        lookup: of `LOOKUPS`.
        head: behind the encoder, for `head`, whose features are the last columns.
    """
    if "lookup_cloud" in samples:
        others = zip(samples["lookup_cloud"], samples["lookup_box"], strict=True)
        single = [{"point_cloud": cloud[None], "box_size": box[None]} for cloud, box in others]
        return torch.cat([lookup_keys(encoder, sample, lookup, head) for sample in single])
    cloud, lengths = samples["point_cloud"], samples.get("lengths")
    feature = torch.empty(len(cloud), 0, device=cloud.device)
    if lookup != "shape":
        # In full precision, whatever training computes in: keys are compared across runs.
        with torch.autocast(cloud.device.type, enabled=False):
            feature = encode_batch(encoder, samples).global_feature
            feature = F.normalize(feature if head is None else head(feature, samples), dim=-1)
    shape = torch.empty_like(feature[:, :0])
    if lookup != "encoder":
        shape = occupancy(cloud, _GRID, lengths).sqrt()
    box = torch.empty_like(shape[:, :0])
    if "box_size" in samples:
        weight = _BOX_WEIGHT_ENCODER if lookup == "encoder" else _BOX_WEIGHT
        box = weight**0.5 * _OCTAVE * log2_edges(samples["box_size"]).to(cloud.device)
    if lookup == "head":
        return torch.cat([_SHAPE_WEIGHT_HEAD**0.5 * torch.cat([shape, box], 1), feature], 1).float()
    return torch.cat([shape, feature, box], 1).float()
