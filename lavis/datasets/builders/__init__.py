"""Data set builders by name. A new builder is one new file and one import line below."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)

from lavis.datasets.builders.base_dataset_builder import (
    BaseDatasetBuilder,
    load_dataset_config,
)

__all__ = ["BaseDatasetBuilder", "load_dataset_config"]

from lavis.datasets.builders import bricks_builder, objaverse_builder  # noqa: F401
