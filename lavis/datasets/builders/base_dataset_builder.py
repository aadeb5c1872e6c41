"""The base of every data set builder: replaces the stock module, which imports torchvision.

A builder prepares its data once (rank 0, the others wait), builds the processors that the yaml
names, and returns {split: dataset}. Same method names as stock; `vis_processor` becomes
`point_processor`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

from lavis.common.registry import registry
from lavis.processors.base_processor import BaseProcessor
from omegaconf import DictConfig

import lavis.common.utils as utils
from lavis.common.dist_utils import barrier, broadcast_object, is_main_process
from lavis.common.errors import (
    ConfigError,
    DataError,
    PointLanguageError,
    nearest,
    require_choice,
)
from lavis.config.sources import load_defaults

SPLITS = ("train", "val", "test")  # LAVIS' names; a component yaml may list others


def load_dataset_config(cfg_path: str) -> DictConfig:
    """Return the only data set's section of a component yaml."""
    datasets = load_defaults(cfg_path, "data set").datasets
    return datasets[next(iter(datasets.keys()))]


class BaseDatasetBuilder:
    """Turn a `datasets.<name>` section into {split: dataset}.

    Class attributes of a subclass:
        train_dataset_cls, eval_dataset_cls: torch data sets.
        DATASET_CONFIG_DICT: {type: component yaml relative to the repository root}.
    """

    train_dataset_cls: Any = None
    eval_dataset_cls: Any = None
    DATASET_CONFIG_DICT: dict[str, str] = {}  # noqa: RUF012 (the LAVIS convention)

    def __init__(self, cfg: DictConfig | str | None = None) -> None:
        if cfg is None:
            cfg = load_dataset_config(self.default_config_path())
        elif isinstance(cfg, str):
            cfg = load_dataset_config(cfg)
        self.config = cfg
        self.data_type = self.config.get("data_type", "points")
        self.point_processors = {"train": BaseProcessor(), "eval": BaseProcessor()}
        self.text_processors = {"train": BaseProcessor(), "eval": BaseProcessor()}

    @classmethod
    def default_config_path(cls, type: str = "default") -> str:
        """Return the component yaml of a data set type."""
        if type not in cls.DATASET_CONFIG_DICT:
            raise ConfigError(
                f"unknown type of data set for {cls.__name__}",
                where="datasets.<name>.type",
                got=type,
                expected=sorted(cls.DATASET_CONFIG_DICT),
                fix="use one of the expected types." + nearest(type, cls.DATASET_CONFIG_DICT),
            )
        return utils.get_abs_path(cls.DATASET_CONFIG_DICT[type])

    def build_datasets(self) -> dict[str, Any]:
        """Prepare on rank 0 while the others wait, then build.

        A failure of the preparation is raised on every rank, so that no rank waits.
        """
        failure = None
        if is_main_process():
            try:
                self._download_data()
            except (PointLanguageError, OSError) as error:
                failure = error
        failure_text = broadcast_object(None if failure is None else str(failure))
        if failure is not None:
            raise failure
        if failure_text is not None:
            raise DataError(failure_text)
        barrier()
        logging.info("Building data set %s", type(self).__name__)
        return self.build()

    def build_processors(self) -> None:
        """Build the point and text processors for training and evaluation from the yaml."""
        for kind in ("point", "text"):
            section = self.config.get(f"{kind}_processor")
            if section is None:
                continue
            target = getattr(self, f"{kind}_processors")
            for mode in ("train", "eval"):
                if section.get(mode) is not None:
                    target[mode] = self._build_proc_from_cfg(section.get(mode))

    @staticmethod
    def _build_proc_from_cfg(cfg: DictConfig) -> Any:
        processor_cls = registry.get_processor_class(cfg.name)
        if processor_cls is None:
            known = registry.list_processors()
            raise ConfigError(
                "unknown processor",
                where="datasets.<name>.*_processor.*.name",
                got=cfg.name,
                expected=known,
                fix="use a registered name." + nearest(cfg.name, known),
            )
        return processor_cls.from_config(cfg)

    def _download_data(self) -> None:
        """Make sure that the data are there. Subclasses prepare; the default only checks."""
        storage = self.storage_path(self.config.build_info.get(self.data_type).storage)
        if not storage.exists():
            raise DataError(
                "Point clouds not found.",
                where=f"build_info.{self.data_type}.storage",
                got=str(storage),
                fix="link or copy the data there (data/README.md), or set the key",
            )

    @staticmethod
    def storage_path(path: str) -> Path:
        """Resolve a storage key: absolute, or below `cache_root`."""
        return Path(utils.get_cache_path(path))

    def build(self) -> dict[str, Any]:
        """Build {split: dataset} from annotations and clouds."""
        raise TypeError(f"{type(self).__name__} has to define build()")


class Source(Protocol):
    """Source of a builder's data; one file each in lavis/datasets/sources/."""

    def prepare(self) -> None:
        """Prepare the data, or raise DataError that names what is missing."""
        ...

    def build(self, points: Mapping[str, Any], texts: Mapping[str, Any]) -> dict[str, Any]:
        """Return {split: dataset}; the processors of each kind are {"train", "eval"}."""
        ...


class SourceBuilder(BaseDatasetBuilder):
    """A builder that only names its source and its data set class; see `register_source`.

    Class attributes:
        registered_name: of the data set.
        sources: {build_info.layout: source}; one layout has the name "".
    """

    registered_name: ClassVar[str] = ""
    sources: ClassVar[Mapping[str, Any]] = {}

    @cached_property
    def source(self) -> Source:
        """The configured source, made once.

        Raises:
            ConfigError: an unknown `build_info.layout`.
        """
        layout = ""
        if layout not in self.sources:
            layout = str(self.config.build_info.layout)
            where = f"datasets.{self.registered_name}.build_info.layout"
            require_choice("layout", layout, list(self.sources), where)
        return self.sources[layout](self.config, self.registered_name, self.train_dataset_cls)

    def _download_data(self) -> None:
        self.source.prepare()

    def build(self) -> dict[str, Any]:
        """Return {split: dataset} of the source, with the processors of the yaml."""
        self.build_processors()
        return self.source.build(self.point_processors, self.text_processors)


def register_source(
    name: str,
    source: Callable[..., Source] | Mapping[str, Callable[..., Source]],
    dataset_cls: type,
    yamls: str | Mapping[str, str] = "",
) -> None:
    """Register the builder of a source.

    Args:
        name: of the data set in recipes, e.g. `rooms_detection`.
        source: called with (configuration, name, data set class), or {build_info.layout: source}.
        dataset_cls: torch data set that reads the annotations.
        yamls: {type: yaml below configs/datasets}, or the default's; "" is <family>/<use>.
    """
    types = yamls if isinstance(yamls, Mapping) else {"default": yamls or name.replace("_", "/")}
    attributes = {
        "__module__": __name__,
        "registered_name": name,
        "sources": source if isinstance(source, Mapping) else {"": source},
        "train_dataset_cls": dataset_cls,
        "DATASET_CONFIG_DICT": {
            key: f"configs/datasets/{yaml}.yaml" for key, yaml in types.items()
        },
    }
    registry.register_builder(name)(type(name, (SourceBuilder,), attributes))
