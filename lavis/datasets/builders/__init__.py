"""Data set builders by name. A new one is a line in source_builders.py."""

from pkgutil import extend_path
from typing import Any

__path__ = extend_path(__path__, __name__)

from lavis.common.registry import registry

from lavis.common.errors import ConfigError
from lavis.datasets.builders.base_dataset_builder import (
    BaseDatasetBuilder,
    load_dataset_config,
)
from lavis.stock import registered

__all__ = ["BaseDatasetBuilder", "dataset_zoo", "load_dataset", "load_dataset_config"]

from lavis.datasets.builders import source_builders  # noqa: F401


def load_dataset(
    name: str,
    cfg_path: str | None = None,
    vis_path: str | None = None,
    data_type: str | None = None,
) -> dict[str, Any]:
    """Prepare and open a data set: `load_dataset("bricks_caption")["train"]`.

    Args:
        name: a registered builder; see `dataset_zoo.get_names()`.
        cfg_path: a component yaml; None is the builder's own.
        vis_path: where the clouds are, in place of `build_info.<data_type>.storage`.
        data_type: the section that `vis_path` replaces; None is the data set's `data_type`.

    Returns:
        {split: data set}.

    Raises:
        ConfigError: unknown name or data type.
        DataError: data are missing or damaged.
        DependencyError: a stock builder that cannot be imported on today's libraries.
    """
    builder_cls = registered("builder", name)
    builder = builder_cls(None if cfg_path is None else load_dataset_config(cfg_path))
    if vis_path is not None:
        kind, info = data_type or builder.config.data_type, builder.config.build_info
        if kind not in info:
            what = f"the data set {name!r} has no {kind!r}"
            raise ConfigError(what, where="data_type", expected=f"of {sorted(info)}")
        info[kind].storage = vis_path
    return builder.build_datasets()


class DatasetZoo:
    """The registered data sets and their types."""

    @property
    def dataset_zoo(self) -> dict[str, list[str]]:
        """{name: its types} in alphabetical order."""
        builders = sorted(registry.mapping["builder_name_mapping"].items())
        return {name: list(builder.DATASET_CONFIG_DICT) for name, builder in builders}

    def get_names(self) -> list[str]:
        """Return the names."""
        return list(self.dataset_zoo)


dataset_zoo = DatasetZoo()
