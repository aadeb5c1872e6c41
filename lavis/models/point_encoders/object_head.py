"""What a projection reads of an object: its global feature, its size, and a hidden layer of both.

`ulip_text` trains it; PointBLIP finds neighbours by its output (`model.retrieval_head`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lavis.common.checkpoint import read_file
from lavis.common.errors import CheckpointError, ConfigError
from lavis.common.utils import get_abs_path
from lavis.models.point_encoders.object_size import SizeToken, box_sizes

_SIZE_WIDTH = 128  # of the size beside the global feature


class ObjectHead(nn.Module):
    """Size beside the global feature, and a hidden layer; either may be left out.

    Args:
        feature_width: of the global feature.
        use_size: read the object's box.
        width: of the hidden layer; None leaves it out.
        dropout: of the hidden layer.

    Attributes:
        out_dim: width F of the result.
    """

    def __init__(
        self, feature_width: int, use_size: bool, width: int | None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.size_token = SizeToken(_SIZE_WIDTH) if use_size else None
        self.out_dim = feature_width + (_SIZE_WIDTH if use_size else 0)
        self.layer: nn.Sequential | None = None
        if width is not None:
            layers = nn.Linear(self.out_dim, width), nn.LayerNorm(width), nn.GELU()
            self.layer = nn.Sequential(*layers, nn.Dropout(dropout))
            self.out_dim = width

    def forward(self, feature: Tensor, samples: Mapping[str, Any]) -> Tensor:
        """Return [B,F] of global features [B,D].

        Raises:
            ConfigError: the head reads sizes, and the samples have none.
        """
        if self.size_token is not None:
            size = self.size_token(box_sizes(samples, "model.use_size").to(feature.device))
            feature = torch.cat([feature, size.to(feature.dtype)], 1)
        return feature if self.layer is None else self.layer(feature)

    def sizes(self) -> dict[str, Any]:
        """Return what `object_head` builds a head of these sizes from."""
        width = None if self.layer is None else self.out_dim
        return {"use_size": self.size_token is not None, "width": width}


def object_head(source: str | Mapping[str, Any], feature_width: int, key: str) -> ObjectHead:
    """Return a frozen head: of a file, or of sizes alone, whose weights a checkpoint brings.

    Args:
        source: path from the repository's root, or what `ObjectHead.sizes` returned.
        feature_width: of the encoder's global feature.
        key: yaml key that named it, for messages.

    Raises:
        CheckpointError: see `load_object_head`.
        ConfigError: other sizes than `use_size` and `width`.
    """
    if isinstance(source, str):
        return load_object_head(get_abs_path(source), feature_width, key)
    if set(source) != {"use_size", "width"}:
        expected = "a file, or use_size and width"
        raise ConfigError("no head of this kind", where=key, got=dict(source), expected=expected)
    return ObjectHead(feature_width, **source).eval().requires_grad_(False)


def load_object_head(path: str | Path, feature_width: int, key: str) -> ObjectHead:
    """Return a trained head, frozen, from a file that `point_encoders.export` wrote.

    Args:
        path: .safetensors with the head's tensors.
        feature_width: of the encoder's global feature.
        key: yaml key that named the file, for the message.

    Raises:
        CheckpointError: the file cannot be read, or its head reads another width.
    """
    state = read_file(Path(path), key)
    first = state.get("layer.0.weight") if isinstance(state, Mapping) else None
    width = None if first is None else len(first)
    head = ObjectHead(feature_width, any(name.startswith("size_token.") for name in state), width)
    try:
        head.load_state_dict(state)
    except RuntimeError as error:
        what = "the file is no head of this encoder"
        fix = "export it from the run that trained the encoder, with --part object_head"
        raise CheckpointError(what, where=f"{key}: {path}", got=error, fix=fix) from error
    return head.eval().requires_grad_(False)
