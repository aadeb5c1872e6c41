"""Clouds of the objects that a page shows, each encoded once (lavis/datasets/viewer)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import yaml

import lavis.common.utils as utils
from lavis.common.text_files import read_text
from lavis.datasets.stores.packed_fields import PackedFieldStore
from lavis.datasets.stores.point_stores import PackedPointStore, check_cloud
from lavis.datasets.viewer.encode import encode_cloud

LoadCloud = Callable[[str], np.ndarray | None]


def open_clouds(folder: str | Path) -> LoadCloud:
    """Clouds of a prepared or converted folder by object id; None for an id that it does not hold.

    Raises:
        DataError: the folder is not a packed data set.
    """
    own = Path(folder) / "points"  # of a converted folder
    store = PackedFieldStore(own) if own.is_dir() else PackedPointStore(folder)
    return lambda object_id: store.load(object_id) if object_id in store.row_of else None


def own_folder(run: str | Path) -> Path | None:
    """Return the folder of own objects (`build_info.path`) that a job of a run read, if any did."""
    for path in sorted(Path(run).glob("*/config.yaml")):
        config = yaml.safe_load(read_text(path))
        sections = (config.get("datasets") or {}) if isinstance(config, Mapping) else {}
        for section in sections.values():
            named = (section.get("build_info") or {}).get("path")
            if named:
                return Path(utils.get_abs_path(str(named)))
    return None


class CloudCollection:
    """Encode each cloud once, at its first use.

    Args:
        load: cloud [P,3|6] of an object id, None when there is none.
    """

    def __init__(self, load: LoadCloud) -> None:
        self._load = load
        self.encoded: dict[str, dict[str, object]] = {}
        self.absent: set[str] = set()

    def add(self, object_id: str) -> bool:
        """Make a cloud part of the page; False when the object has none.

        Raises:
            DataError: the cloud holds NaN, or is no cloud.
        """
        if object_id in self.encoded:
            return True
        cloud = self._load(object_id)
        if cloud is None:
            self.absent.add(object_id)
            return False
        self.encoded[object_id] = encode_cloud(check_cloud(cloud, object_id))
        return True
