"""Yaml keys that every point encoder reads: defaults, what they mean, and the checks on them.

Each encoder's own keys are a subclass beside its code (`PointBertConfig`, `PpatConfig` …).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NoReturn, Self

from lavis.common.errors import ConfigError, nearest

# `grey` is what OpenShape and MixCon3D train colourless clouds with.
COLOR_VALUES = {"zeros": 0.0, "half": 0.5, "ones": 1.0, "grey": 0.4}
UP_AXES = ("as_is", "y_to_z", "z_to_y", "swap_yz")


@dataclass(frozen=True)
class EncoderConfig:
    """Keys of every encoder.

    Attributes:
        point_dims: channels the network reads, 3 (xyz) or 6 (xyz + rgb).
        missing_color: colour given to xyz clouds when point_dims is 6.
        up_axis: turn clouds before encoding when the weights know another gravity axis:
            y_to_z and z_to_y rotate, swap_yz mirrors (what OpenShape's `y_up` does). Centres come
            back in the cloud's own axes.
        num_points: resample every cloud to this many points (8192 or 10,000 for published
            weights, whose groups expect that density); null takes clouds as they are.
        random_start: in training, begin the farthest-point sampling at a random point.
        drop_path_rate: stochastic depth of the last block, in [0,1).
        use_grad_checkpoint: recompute the blocks in the backward pass.
    """

    point_dims: int = 3
    missing_color: str = "zeros"
    up_axis: str = "as_is"
    num_points: int | None = None
    random_start: bool = False
    drop_path_rate: float = 0.0
    use_grad_checkpoint: bool = False

    @classmethod
    def from_mapping(cls, cfg: Mapping[str, Any]) -> Self:
        """Read a yaml section (dict or DictConfig); lists become tuples.

        Raises:
            ConfigError: for a key that does not exist, naming the nearest that does.
        """
        known = [field.name for field in fields(cls)]
        for key in cfg:
            if key not in known:
                message = f"Unknown point encoder key {key!r}.{nearest(key, known)}"
                where = f"point_encoder.{key}"
                raise ConfigError(message, where=where, expected=f"one of {known}")
        return cls(**{str(key): _plain(value) for key, value in cfg.items()})

    def __post_init__(self) -> None:
        self.require_flags("random_start", "use_grad_checkpoint")
        self.require_choice("missing_color", COLOR_VALUES)
        self.require_choice("up_axis", UP_AXES)
        if self.point_dims not in (3, 6):
            refuse("point_dims", self.point_dims, "3 (xyz) or 6 (xyz + rgb)")
        if self.num_points is not None:
            self.require_sizes("num_points")
        self.require_rates("drop_path_rate")

    def require_sizes(self, *keys: str) -> None:
        """Refuse values that are not positive integers."""
        for key in keys:
            if not is_size(getattr(self, key)):
                refuse(key, getattr(self, key), "a positive integer")

    def require_size_lists(self, length: int | None, *keys: str) -> None:
        """Refuse values that are not lists of positive integers (of this length, if given)."""
        for key in keys:
            value = getattr(self, key)
            fits = isinstance(value, tuple) and (length is None or len(value) == length)
            if not fits or not value or not all(is_size(item) for item in value):
                many = "some" if length is None else {3: "three"}.get(length, length)
                got = list(value) if isinstance(value, tuple) else value
                refuse(key, got, f"a list of {many} positive integers")

    def require_rates(self, *keys: str) -> None:
        """Refuse values outside [0, 1)."""
        for key in keys:
            rate = getattr(self, key)
            if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
                refuse(key, rate, "a number in [0, 1)")

    def require_flags(self, *keys: str) -> None:
        """Refuse values other than true and false."""
        for key in keys:
            if not isinstance(getattr(self, key), bool):
                refuse(key, getattr(self, key), "true or false")

    def require_choice(self, key: str, choices: Iterable[str]) -> None:
        """Refuse a value that is not one of `choices`."""
        if getattr(self, key) not in tuple(choices):
            refuse(key, getattr(self, key), f"one of {list(choices)}")

    def require_heads(self, width: int, num_heads: int, of: str = "trans_dim") -> None:
        """Refuse attention heads that do not divide the width."""
        if width % num_heads:
            refuse("num_heads", num_heads, f"a divisor of {of}={width}")


def is_size(value: object) -> bool:
    """Return whether value is a positive integer (and not a bool)."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def refuse(key: str, got: object, expected: str) -> NoReturn:
    """Raise the ConfigError of one key."""
    where = f"point_encoder.{key}"
    raise ConfigError(f"{key} cannot be used.", where=where, got=got, expected=expected)


def _plain(value: Any) -> Any:
    """Turn lists (also OmegaConf's) into tuples, mappings into dicts."""
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return tuple(_plain(item) for item in value)
    return value
