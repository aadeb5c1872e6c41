"""Encoder classes by yaml name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from lavis.common.errors import ConfigError, nearest
from lavis.models.point_encoders.base import PointEncoder

_ENCODERS: dict[str, type[PointEncoder]] = {}
EncoderClass = TypeVar("EncoderClass", bound=type[PointEncoder])


def register_point_encoder(*names: str) -> Callable[[EncoderClass], EncoderClass]:
    """Register an encoder class under one or more names.

    Raises:
        ConfigError: when a name is taken by another class.
    """

    def register(encoder_class: EncoderClass) -> EncoderClass:
        for name in names:
            taken = _ENCODERS.setdefault(name, encoder_class)
            if taken is not encoder_class:
                raise ConfigError(
                    f"Point encoder name {name!r} is taken.",
                    got=encoder_class.__qualname__,
                    expected=f"another name than that of {taken.__qualname__}",
                )
        return encoder_class

    return register


def point_encoder_names() -> list[str]:
    """Return all registered names, sorted."""
    return sorted(_ENCODERS)


def point_encoder_defaults(name: str) -> dict[str, Any]:
    """Return the default of every key of an encoder, `name` first.

    Raises:
        ConfigError: unknown name.
    """
    return {"name": name} | asdict(encoder_class(name).config_class())


def encoder_class(name: Any) -> type[PointEncoder]:
    """Return the class of a registered name.

    Raises:
        ConfigError: missing or unknown name.
    """
    if name not in _ENCODERS:
        raise ConfigError(
            f"Unknown point encoder.{nearest(str(name), _ENCODERS)}",
            where="point_encoder.name",
            got=name,
            expected=f"one of {point_encoder_names()}",
        )
    return _ENCODERS[name]


def encoder_name(wanted: type[PointEncoder]) -> str:
    """Return the first name that a class is registered under."""
    return next(name for name, known in _ENCODERS.items() if known is wanted)


def build_point_encoder(cfg: Mapping[str, Any]) -> PointEncoder:
    """Build an encoder from its yaml section.

    Args:
        cfg: `name` and the keys of that encoder (see its config class), e.g.
            ``{"name": "point_bert", "num_group": 64, "point_dims": 6}``; dict or DictConfig.

    Raises:
        ConfigError: missing or unknown name, or a key that the encoder does not read.
    """
    options = {str(key): value for key, value in cfg.items()}
    return encoder_class(options.pop("name", None)).from_config(options)
