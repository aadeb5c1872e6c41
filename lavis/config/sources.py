"""Sources of a configuration: yaml files and `--options`, each read strictly.

An option that cannot be read, a key given twice and a malformed yaml file each raise a ConfigError
with the place.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lavis.common.errors import ConfigError, nearest, nearest_file
from lavis.common.text_files import read_text

MAX_ALIASES = 40
SECTIONS = ("run", "model", "datasets")
_KEY = re.compile(r"^[A-Za-z_][\w-]*(\.[\w-]+|\[[^\]=]+\])*$")


def load_yaml(path: str | Path, key: str) -> DictConfig:
    """Read one yaml file whose root is a mapping.

    Args:
        path: the file.
        key: what names this file (a yaml key or a command-line flag), for messages.

    Raises:
        ConfigError: missing file, malformed yaml, duplicate keys (with the line), another root.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(
            "a configuration file is missing",
            where=key,
            got=path,
            expected="a yaml file",
            fix=f"check the path{nearest_file(path, '*.y*ml')}",
        )
    try:
        text = read_text(path)
        _limit_aliases(text, path)
        config = OmegaConf.load(io.StringIO(text))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError("malformed yaml", where=f"{path}:{line}", got=problem) from error
    except (OmegaConfBaseException, UnicodeDecodeError, OSError) as error:
        raise ConfigError("unreadable yaml", where=str(path), got=error) from error
    if not isinstance(config, DictConfig):
        kind = type(config).__name__
        raise ConfigError("the root of a recipe is a mapping", where=str(path), got=kind)
    return config


def load_defaults(path: str | Path, key: str) -> DictConfig:
    """Read a component yaml; `base: <file of its folder>` names the one it differs from.

    Each section of `datasets` is merged over the only section of the base's.
    """
    config = load_yaml(path, key)
    base = config.pop("base", None)
    if base is None:
        return config
    shared = load_defaults(Path(path).parent / base, f"base of {path}").datasets
    (default,) = shared.values()
    for name, section in config.datasets.items():
        config.datasets[name] = merge(default, section)
    return config


def _limit_aliases(text: str, path: Path) -> None:
    """Refuse yaml whose aliases of aliases would fill the memory when they are expanded."""
    events = yaml.parse(text, Loader=yaml.SafeLoader)
    aliases = sum(isinstance(event, yaml.AliasEvent) for event in events)
    if aliases > MAX_ALIASES:
        expected = f"at most {MAX_ALIASES} aliases (*name)"
        raise ConfigError("too many yaml aliases", where=str(path), got=aliases, expected=expected)


def as_plain(config: Any, resolve: bool = True) -> dict[str, Any]:
    """Return a configuration whose root is a mapping as plain Python."""
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=resolve))


def merge(*configs: Any) -> DictConfig:
    """Merge mappings; later ones win, none give an empty one."""
    return cast(DictConfig, OmegaConf.merge(OmegaConf.create(), *configs))


def split_options(options: Sequence[str] | None) -> list[str]:
    """Return `--options` as ["key=value", ...].

    LAVIS has two forms, `k=v k=v` and `k v k v`; stock code guesses from the first entry and
    drops what does not fit. Here both forms may be mixed and nothing is dropped.

    Raises:
        ConfigError: a key without value, a key outside run/model/datasets, or one key given twice.
    """
    pairs: dict[str, str] = {}
    entries = iter(options or ())
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not equals:
            following = next(entries, None)
            if following is None or _looks_like_option(following):
                raise _option_error(f"option {key!r} has no value", entry, following)
            value = following
        _check_option_key(key, entry)
        if key in pairs and yaml.safe_load(pairs[key].lower()) != yaml.safe_load(value.lower()):
            both = f"{pairs[key]!r} and {value!r}"
            raise ConfigError("an option is given twice", where=f"--options {key}", got=both)
        pairs[key] = value
    return [f"{key}={value}" for key, value in pairs.items()]


def _looks_like_option(entry: str) -> bool:
    """Return whether an entry is a key (with or without value) rather than a value."""
    return entry.split("=")[0].partition(".")[0] in SECTIONS and "." in entry.split("=")[0]


def _check_option_key(key: str, entry: str) -> None:
    """Refuse an option that names no key below a section."""
    section = key.partition(".")[0]
    if section not in SECTIONS:
        raise _option_error(f"unknown section {section!r}.{nearest(section, SECTIONS)}", entry)
    if "." not in key or not _KEY.match(key):
        raise _option_error("an option names one key below a section", entry)


def _option_error(what: str, entry: str, following: str | None = None) -> ConfigError:
    """Compose the message for an option that cannot be read."""
    return ConfigError(
        what,
        where="--options",
        got=entry if following is None else f"{entry} {following}",
        expected="run.key=value, model.key=value or datasets.name.key=value",
    )


def parse_options(options: Sequence[str] | None) -> DictConfig:
    """Return `--options` as a configuration; values follow yaml.

    Raises:
        ConfigError: see `split_options`; or a value that is no yaml.
    """
    merged = merge()
    for pair in split_options(options):
        try:
            merged = merge(merged, OmegaConf.from_dotlist([pair]))
        except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError) as error:
            problem = str(error).splitlines()[0]
            raise _option_error(f"an option cannot be read ({problem})", pair) from error
    return merged
