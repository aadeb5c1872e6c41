"""The configuration of a component: one frozen dataclass is its defaults, types and ranges.

    @dataclass(frozen=True)
    class MyModelConfig(ModelConfig):
        '''Keys of my model.

        Attributes:
            width: of the hidden layer.
            pooling: cls (published) or mean.
        '''

        width: int = option(512, low=1)
        pooling: str = option("cls", choices=("cls", "mean"))

A yaml of `configs/` states differences from the defaults. `MyModelConfig.defaults()` lists every
key, `MyModelConfig.read(section, where)` checks a section and builds the dataclass.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Self

from lavis.common.errors import ConfigError, nearest
from lavis.config.run_schema import SCALARS, coerce

_UNIONS = (types.UnionType, typing.Union)


def option(
    default: Any, *, low: float = -math.inf, high: float = math.inf, choices: Sequence[Any] = ()
) -> Any:
    """Declare a key with its default and allowed values.

    Args:
        default: its type need not fit the annotation of a nullable key.
        low, high: inclusive range of a number.
        choices: the allowed values, when they are few.
    """
    limits = {"low": low, "high": high, "choices": tuple(choices)}
    if isinstance(default, (dict, list)):
        return field(default_factory=lambda: type(default)(default), metadata=limits)
    return field(default=default, metadata=limits)


@dataclass(frozen=True)
class ComponentConfig:
    """Base of the configurations; a subclass adds keys as dataclass fields.

    Raises:
        ConfigError: a value out of range or not a choice, however it was built.
    """

    SECTION: typing.ClassVar = "model"  # of the yaml, for messages

    def __post_init__(self) -> None:
        for item in fields(self):
            _check_limits(item, getattr(self, item.name), f"{self.SECTION}.{item.name}")

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return every key with its default as plain yaml values."""
        return {f.name: plain(_default(f)) for f in fields(cls)}

    @classmethod
    def read(cls, section: Mapping[str, Any], where: str) -> Self:
        """Check a section of a yaml and build the configuration.

        Args:
            section: its keys; absent ones take their defaults.
            where: dotted name of the section, for messages.

        Raises:
            ConfigError: an unknown key, a wrong type, a value out of range or not a choice.
        """
        hints = typing.get_type_hints(cls)
        known = {f.name: f for f in fields(cls)}
        values = {}
        for key, raw in section.items():
            name = str(key)
            if name not in known:
                what = f"unknown key {name!r}.{nearest(name, known)}"
                expected = f"one of {', '.join(sorted(known))}"
                raise ConfigError(what, where=f"{where}.{name}", expected=expected)
            values[name] = _read(hints[name], raw, f"{where}.{name}")
            _check_limits(known[name], values[name], f"{where}.{name}")
        return cls(**values)

    @classmethod
    def complete(cls, section: Mapping[str, Any]) -> dict[str, Any]:
        """Return the defaults with the differences that a section states."""
        return cls.defaults() | plain(section)


@dataclass(frozen=True)
class ModelConfig(ComponentConfig):
    """Keys of every model.

    Attributes:
        pretrained: checkpoint to start from: ours or a published one.
        finetuned: checkpoint of this stage, loaded over `pretrained`.
    """

    pretrained: str | None = None
    finetuned: str | None = None

    # {former key: what to write now}; a recipe with a former key is refused.
    REPLACED: typing.ClassVar[Mapping[str, str]] = {}
    # What stock LAVIS reads from the section and a model does not.
    IGNORED: typing.ClassVar = (
        *("arch", "model_type", "load_pretrained", "load_finetuned"),
        "allowed_code",  # see models/weights/foreign_code.py
    )

    @classmethod
    def read(cls, section: Mapping[str, Any], where: str = "model") -> Self:
        """Check the `model` section and build the configuration; see `ComponentConfig.read`."""
        cls.refuse_replaced(section, where)
        return super().read({k: v for k, v in section.items() if k not in cls.IGNORED}, where)

    @classmethod
    def refuse_replaced(cls, section: Mapping[str, Any], where: str) -> None:
        """Refuse former keys.

        Raises:
            ConfigError: names the key that replaces it.
        """
        for key in section:
            if key in cls.REPLACED:
                what = f"the key {key!r} was replaced"
                fix = f"write {cls.REPLACED[key]}"
                raise ConfigError(what, where=f"{where}.{key}", fix=fix)


def plain(value: Any) -> Any:
    """Return tuples as lists, mappings and dataclasses as dicts, recursively."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def _default(item: dataclasses.Field[Any]) -> Any:
    """Return the default of a field; a key without one is None until a yaml gives it."""
    if item.default_factory is not MISSING:
        return item.default_factory()
    return None if item.default is MISSING else item.default


def _read(hint: Any, raw: Any, where: str) -> Any:
    """Turn a yaml value into the annotated type.

    Raises:
        ConfigError: it is of no type that the annotation allows.
    """
    wanted = typing.get_args(hint) if typing.get_origin(hint) in _UNIONS else (hint,)
    if raw is None and type(None) in wanted:
        return None
    problems = []
    for kind in (kind for kind in wanted if kind is not type(None)):
        try:
            return _read_one(kind, raw, where)
        except ConfigError as problem:
            problems.append(problem)
    raise problems[0]


def _read_one(kind: Any, raw: Any, where: str) -> Any:
    if kind is Any:
        return raw
    if kind in SCALARS:
        return coerce(SCALARS[kind], raw, where, _name(kind))
    origin, parts = typing.get_origin(kind) or kind, typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, raw, where)
    if issubclass(origin, Mapping) and isinstance(raw, Mapping):
        value = parts[1] if parts else Any
        return {str(key): _read(value, item, f"{where}.{key}") for key, item in raw.items()}
    if issubclass(origin, Sequence) and isinstance(raw, Sequence) and not isinstance(raw, str):
        item_type = parts[0] if parts else Any
        return tuple(_read(item_type, item, f"{where}[{k}]") for k, item in enumerate(raw))
    got = f"{raw!r} ({type(raw).__name__})"
    raise ConfigError("wrong type", where=where, got=got, expected=_name(kind))


def _read_dataclass(kind: Any, raw: Any, where: str) -> Any:
    """Build a nested dataclass from a mapping of its fields."""
    if not isinstance(raw, Mapping):
        raise ConfigError("wrong type", where=where, got=repr(raw), expected="a mapping")
    hints = typing.get_type_hints(kind)
    unknown = [key for key in raw if key not in hints]
    if unknown:
        what = f"unknown key {unknown[0]!r}.{nearest(str(unknown[0]), hints)}"
        raise ConfigError(what, where=where, expected=f"one of {sorted(hints)}")
    return kind(**{key: _read(hints[key], item, f"{where}.{key}") for key, item in raw.items()})


def _check_limits(item: dataclasses.Field[Any], value: Any, where: str) -> None:
    """Refuse numbers outside of the range of a key, and values that are none of its choices."""
    limits = item.metadata
    if not limits or value is None:
        return
    choices = limits["choices"]
    if choices and value not in choices:
        hint = nearest(str(value), map(str, choices))
        expected = f"one of {', '.join(map(str, choices))}"
        raise ConfigError(f"not a choice.{hint}", where=where, got=value, expected=expected)
    for number in value.values() if isinstance(value, Mapping) else [value]:
        is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
        if is_number and not limits["low"] <= number <= limits["high"]:
            expected = f"{limits['low']:g} to {limits['high']:g}"
            raise ConfigError("value out of range", where=where, got=number, expected=expected)


def _name(kind: Any) -> str:
    """Return the name of a type for messages."""
    return getattr(kind, "__name__", None) or str(kind)
