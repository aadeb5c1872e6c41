"""ScanObjectNN: scanned objects of 15 classes, in the variants of the release.

The variant decides the difficulty, so results name it: OBJ_ONLY, OBJ_BG (with background), and
PB_T50_RS (boxes moved by half of their size, rotated, scaled). Up is +y.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.files import file_sha256
from lavis.datasets.class_names import SCANOBJECTNN
from lavis.datasets.datasets.annotations import Entry
from lavis.datasets.readers.hdf5 import read_hdf5
from lavis.datasets.readers.pickled_arrays import read_pickled
from lavis.datasets.sources.released import ArraySource, Processors


class ScanObjectNNSource(ArraySource):
    """Read .h5 files with data [n,2048,3] and label [n], or OpenShape's xyz_label.npy."""

    origin = (
        "ScanObjectNN's h5_files.zip (hkust-vgd.github.io/scanobjectnn, after its form): "
        "main_split/ and main_split_nobg/; or scanobjectnn/xyz_label.npy of OpenShape's meta_data"
    )
    fixed_classes = SCANOBJECTNN

    def read(self, path: Path) -> list[Entry]:
        """Return the objects of a file; rows have no ids: <folder>/<file>/<row>."""
        arrays = _arrays(path)
        clouds, labels = arrays["data"], np.asarray(arrays["label"]).reshape(-1)
        if len(clouds) != len(labels):
            raise ValueError(f"{len(clouds)} clouds, {len(labels)} labels")
        if labels.dtype.kind not in "iu" or not np.isin(labels, range(len(SCANOBJECTNN))).all():
            raise ValueError(f"labels of 15 classes from {labels.min()} to {labels.max()}")
        ids = [f"{path.parent.name}/{path.stem}/{row}" for row in range(len(labels))]
        self.clouds |= dict(zip(ids, clouds))
        names = [SCANOBJECTNN[label] for label in labels]
        return [{"object_id": i, "category": n, "caption": n} for i, n in zip(ids, names)]

    def build(self, points: Processors, texts: Processors) -> dict[str, Any]:
        """Return {split: dataset}; `data_version` names the variant and the file in results."""
        datasets = super().build(points, texts)
        for split, dataset in datasets.items():
            dataset.data_version = {
                "name": f"scanobjectnn_{self.info.variant}",
                "version": 1,
                "split_file_sha256": file_sha256(self.paths(split)[0]),
            }
        return dict(datasets)


def _arrays(path: Path) -> dict[str, Any]:
    """Return `data`, one cloud a row, and `label`."""
    if path.suffix != ".npy":
        return read_hdf5(path, ("data", "label"))
    found = read_pickled(path)
    parts = [found[name] for name in ("xyz", "rgb") if name in found]
    data = [np.concatenate(cloud, 1) for cloud in zip(*parts, strict=True)]
    return {"data": data, "label": found["label"]}
