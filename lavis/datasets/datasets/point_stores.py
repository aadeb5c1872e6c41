"""Former place of `lavis/datasets/stores/point_stores.py`, kept for scripts that import from it."""

from lavis.datasets.stores.point_stores import (
    FilePointStore,
    PackedPointStore,
    PointStore,
    check_cloud,
)

__all__ = ["FilePointStore", "PackedPointStore", "PointStore", "check_cloud"]
