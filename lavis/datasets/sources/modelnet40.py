"""ModelNet40 in its four released layouts; the yamls in configs/datasets/modelnet40/ list them.

Each has its own sampling of the same 12,311 shapes. Up is +y in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from lavis.common.errors import ConfigError, nearest
from lavis.common.files import file_below
from lavis.common.text_files import read_json, read_text
from lavis.datasets.class_names import MODELNET40
from lavis.datasets.datasets.annotations import Entry
from lavis.datasets.readers.hdf5 import read_hdf5
from lavis.datasets.readers.pickled_arrays import read_pickled
from lavis.datasets.sources.released import ArraySource, ReleasedSource
from lavis.datasets.stores.array_stores import ArrayPointStore
from lavis.datasets.stores.point_stores import FilePointStore, PointStore


class _ModelNetSource(ReleasedSource):
    fixed_classes = MODELNET40

    def entry(self, object_id: str, category: str) -> Entry:
        """Return the record of an object.

        Args:
            category: in any of the releases' spellings, e.g. "flower_pot".

        Raises:
            ValueError: no class of ModelNet40.
        """
        name = category.replace("_", " ").strip().lower()
        if name not in self.class_names():
            raise ValueError(f"{category!r} is no class.{nearest(name, self.class_names())}")
        return {"object_id": object_id, "category": name, "caption": name}


class _TextStore(FilePointStore):
    def path(self, object_id: str) -> Path:
        """Return <class>/<class>_<number>.txt."""
        return file_below(self.folder, f"{object_id.rpartition('_')[0]}/{object_id}.txt")


class ModelNetText(_ModelNetSource):
    """modelnet40_normal_resampled: a text file per object, [10000,6] xyz and normals."""

    origin = (
        "modelnet40_normal_resampled.zip (shapenet.cs.stanford.edu/media): modelnet40_train.txt, "
        "modelnet40_test.txt, <class>/<class>_<number>.txt"
    )

    def read(self, path: Path) -> list[Entry]:
        """Return the objects of a list, one id a line; the id begins with the class."""
        ids = [line.strip() for line in read_text(path).splitlines() if line.strip()]
        return [self.entry(object_id, object_id.rpartition("_")[0]) for object_id in ids]

    def open_store(self) -> PointStore:
        """Return the text files."""
        return _TextStore(self.path("points.storage"))


class ModelNetOpenShape(_ModelNetSource):
    """OpenShape's meta_data/modelnet40: the 2,468 test objects, 10,000 points, grey 100 of 255."""

    origin = (
        "OpenShape's meta_data.zip (hub data set OpenShape/openshape-training-data): "
        "modelnet40/test_split.json and modelnet40/test_pc.npy, in the same order"
    )

    def read(self, path: Path) -> list[Entry]:
        """Return the objects of test_split.json, a list of {name, category}."""
        return [self.entry(str(item["name"]), str(item["category"])) for item in read_json(path)]

    def open_store(self) -> PointStore:
        """Return the clouds of test_pc.npy, a list of {xyz, rgb} in the order of the split.

        Raises:
            ConfigError: more than one annotation file.
        """
        names = [path for split in self.splits for path in self.paths(split)]
        where = self.path("points.storage")
        if len(names) != 1:
            what, expected = "One file of clouds belongs to one list.", "one annotation file"
            raise ConfigError(what, where=str(where), got=len(names), expected=expected)
        ids = [entry["object_id"] for entry in self.records(names)]
        return ArrayPointStore(self.checked(where, partial(_open_shape, where, ids)), str(where))


def _open_shape(path: Path, ids: Sequence[str]) -> dict[str, np.ndarray]:
    clouds = read_pickled(path)
    if not isinstance(clouds, list) or len(clouds) != len(ids) or len(set(ids)) != len(ids):
        raise ValueError(f"{len(clouds)} clouds for {len(ids)} objects ({len(set(ids))} ids)")
    return {i: np.concatenate([one["xyz"], one["rgb"]], 1) for i, one in zip(ids, clouds)}


class _ModelNetArrays(ArraySource, _ModelNetSource):
    def add_rows(
        self, path: Path, clouds: Sequence[np.ndarray] | np.ndarray, labels: np.ndarray
    ) -> list[Entry]:
        """Add the clouds of a file, and return their records; ids are <file>/<row>.

        Raises:
            ValueError: a label beyond the classes, or another number of labels.
        """
        names = self.class_names()
        if len(labels) != len(clouds) or not np.isin(labels, range(len(names))).all():
            raise ValueError(f"{len(clouds)} clouds, {len(labels)} labels of {len(names)} classes")
        ids = [f"{path.stem}/{row}" for row in range(len(labels))]
        self.clouds |= dict(zip(ids, clouds))
        return [self.entry(i, names[int(label)]) for i, label in zip(ids, labels)]


class ModelNetHdf5(_ModelNetArrays):
    """modelnet40_ply_hdf5_2048: .h5 files with data [n,2048,3] and label [n,1]."""

    origin = (
        "modelnet40_ply_hdf5_2048.zip (shapenet.cs.stanford.edu/media): train_files.txt, "
        "test_files.txt, ply_data_<split><number>.h5"
    )

    def read(self, path: Path) -> list[Entry]:
        """Return the objects of the .h5 files that a list names."""
        lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
        # The lists name data/modelnet40_ply_hdf5_2048/<file>; the files are beside the lists.
        files = [self.path("points.storage") / line.rpartition("/")[2] for line in lines]
        return [e for file in files for e in self.checked(file, partial(self._read_rows, file))]

    def _read_rows(self, path: Path) -> list[Entry]:
        arrays = read_hdf5(path, ("data", "label"))
        return self.add_rows(path, arrays["data"], arrays["label"].reshape(-1))


class ModelNetPointBert(_ModelNetArrays):
    """Point-BERT's and PointLLM's .dat files: pickled ([8192,6] xyz and normals, labels)."""

    origin = (
        "modelnet40_test_8192pts_fps.dat (hub data set RunsenXu/PointLLM), and the files of this "
        "kind of Point-BERT: a pickled pair of clouds and labels"
    )

    def read(self, path: Path) -> list[Entry]:
        """Return the objects of a file."""
        content = read_pickled(path)
        if not isinstance(content, list) or len(content) != 2:
            raise ValueError(f"a {type(content).__name__}, no pair of clouds and labels")
        clouds, labels = content
        flat = np.concatenate([np.asarray(label).reshape(-1) for label in labels])
        return self.add_rows(path, [cloud[:, :3] for cloud in clouds], flat)


LAYOUTS: dict[str, type[ReleasedSource]] = {
    "txt": ModelNetText,
    "npy": ModelNetOpenShape,
    "h5": ModelNetHdf5,
    "dat": ModelNetPointBert,
}
