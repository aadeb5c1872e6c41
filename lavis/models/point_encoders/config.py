"""Yaml keys of the encoders: defaults, what they mean, and the checks on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from lavis.common.errors import ConfigError, explain, nearest

COLOR_VALUES = {"zeros": 0.0, "half": 0.5, "ones": 1.0}


@dataclass(frozen=True)
class PointBertConfig:
    """Sizes and switches of Point-BERT; the defaults are the published ULIP-2 / PointBLIP encoder.

    Attributes:
        trans_dim: D, token width.
        depth: transformer blocks.
        num_heads: attention heads, a divisor of trans_dim.
        group_size: S, points per group.
        num_group: G, groups (= tokens) per cloud.
        encoder_dims: width of a group vector out of the mini-PointNet.
        stem_dims: hidden widths of the mini-PointNet.
        point_dims: channels the network reads, 3 or 6.
        drop_path_rate: stochastic depth of the last block, in [0,1).
        use_grad_checkpoint: recompute the blocks in the backward pass.
        missing_color: colour given to xyz clouds when point_dims is 6.
        legacy_color_bug: feed xyz in place of rgb, for weights of GPT4Point v1.0.
        random_start: in training, begin the farthest-point sampling at a random point.
    """

    trans_dim: int = 384
    depth: int = 12
    num_heads: int = 6
    group_size: int = 32
    num_group: int = 512
    encoder_dims: int = 256
    stem_dims: tuple[int, int, int] = (128, 256, 512)
    point_dims: int = 3
    drop_path_rate: float = 0.1
    use_grad_checkpoint: bool = False
    missing_color: str = "zeros"
    legacy_color_bug: bool = False
    random_start: bool = False

    @classmethod
    def from_mapping(cls, cfg: Mapping[str, Any]) -> Self:
        """Read a yaml section (dict or DictConfig).

        Raises:
            ConfigError: for a key that does not exist, naming the nearest that does.
        """
        known = [field.name for field in fields(cls)]
        for key in cfg:
            if key not in known:
                message = f"Unknown point encoder key {key!r}.{nearest(key, known)}"
                where = f"point_encoder.{key}"
                raise ConfigError(explain(message, where=where, expected=f"one of {known}"))
        options = dict(cfg)
        if "stem_dims" in options:
            try:
                options["stem_dims"] = tuple(options["stem_dims"])
            except TypeError:
                _refuse("stem_dims", options["stem_dims"], "a list of three widths")
        return cls(**options)

    def __post_init__(self) -> None:
        for key in ("trans_dim", "depth", "num_heads", "group_size", "num_group", "encoder_dims"):
            if not _is_size(getattr(self, key)):
                _refuse(key, getattr(self, key), "a positive integer")
        for key in ("use_grad_checkpoint", "legacy_color_bug", "random_start"):
            if not isinstance(getattr(self, key), bool):
                _refuse(key, getattr(self, key), "true or false")
        if len(self.stem_dims) != 3 or not all(_is_size(width) for width in self.stem_dims):
            _refuse("stem_dims", list(self.stem_dims), "three positive integers")
        if self.trans_dim % self.num_heads:
            _refuse("num_heads", self.num_heads, f"a divisor of trans_dim={self.trans_dim}")
        if self.point_dims not in (3, 6):
            _refuse("point_dims", self.point_dims, "3 (xyz) or 6 (xyz + rgb)")
        rate = self.drop_path_rate
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
            _refuse("drop_path_rate", rate, "a number in [0, 1)")
        if self.missing_color not in COLOR_VALUES:
            _refuse("missing_color", self.missing_color, f"one of {list(COLOR_VALUES)}")
        if self.legacy_color_bug and self.point_dims != 6:
            _refuse("legacy_color_bug", True, "point_dims: 6 beside it")


def _is_size(value: object) -> bool:
    """Return whether value is a positive integer (and not a bool)."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _refuse(key: str, got: object, expected: str) -> None:
    """Raise the ConfigError of one key."""
    where = f"point_encoder.{key}"
    raise ConfigError(explain(f"{key} cannot be used.", where=where, got=got, expected=expected))
