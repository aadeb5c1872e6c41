"""Objaverse in the files of the PointBLIP release; formats and splits: see the yaml."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from lavis.common.registry import registry
from omegaconf import DictConfig

import lavis.common.utils as utils
from lavis.common.dist_utils import broadcast_object, is_main_process
from lavis.common.errors import ConfigError, DataError
from lavis.datasets.builders.base_dataset_builder import SPLITS
from lavis.datasets.datasets.annotations import Entry, take
from lavis.datasets.datasets.record_dataset import RecordDataset
from lavis.datasets.fields.points import PointLoader
from lavis.datasets.fields.texts import CaptionLoader
from lavis.datasets.sources.objaverse_files import (
    HeldOut,
    open_store,
    read_captions,
    read_ids,
    word_remover,
)
from lavis.datasets.stores.cloud_check import CloudCheck, check_clouds
from lavis.datasets.stores.point_stores import FilePointStore

Processors = Mapping[str, Any]  # {"train", "eval"}

CAPTIONS_SOURCE = (
    "captions {uid: text} as of PointBLIP (github.com/zhaozh10/PointBLIP) or written from Cap3D "
    "(hub data set tiange/Cap3D)"
)
IDS_SOURCE = "one uid a line, the objects to train on, e.g. the folder names of build_info.points"
POINTS_SOURCE = (
    "ULIP-2's release of Objaverse triplets (hub data set SFXX/ulip): "
    "<uid>/<uid>_8192.npz with arr_0 [8192,3]"
)


class ObjaverseSource:
    """Read captions and uids, settle the splits, check the clouds.

    Args:
        config: a `datasets.objaverse_*` section.
        name: of the builder, for messages.
        dataset_cls: what reads the annotations.
    """

    def __init__(self, config: DictConfig, name: str, dataset_cls: type[RecordDataset]) -> None:
        self.config, self.name, self.dataset_cls = config, name, dataset_cls

    def prepare(self) -> None:
        """Nothing is downloaded: name every missing file of the splits in use in one message.

        Raises:
            DataError: with the yaml key, the path and the source of each.
        """
        info = self.config.build_info
        wanted = {"ids.storage": (info.ids.storage, IDS_SOURCE)}
        wanted["ids.test_storage"] = (info.ids.test_storage, "uids to hold out, one a line")
        wanted["points.storage"] = (info.points.storage, POINTS_SOURCE)
        for split in self.used_splits:
            key = f"annotations.{split}.storage"
            wanted[key] = (self._annotation(split), CAPTIONS_SOURCE)
        missing = [
            f"{self._key(key)} = {storage_path(path)}\n            {source}"
            for key, (path, source) in wanted.items()
            if path is not None and not storage_path(path).exists()
        ]
        if missing:
            raise DataError(
                "Objaverse files not found",
                where="\n            ".join(missing),
                expected="the layout of the PointBLIP release (configs/datasets/objaverse/)",
                fix="put or link them there, or set the keys; LAVIS_CACHE_ROOT moves data/",
            )

    def build(self, points: Processors, texts: Processors) -> dict[str, RecordDataset]:
        """Return {split: dataset} of the splits in use.

        Raises:
            DataError: an unreadable file, an empty split, or too many unusable objects.
        """
        self.processors = points, texts
        chosen = {split: self._entries(split) for split in self.used_splits}
        needs_reference = any(split != "train" for split in chosen)
        reference = self._reference_entries() if needs_reference else []
        everything = [entry for entries in [*chosen.values(), reference] for entry in entries]
        problems = self._problems(list(dict.fromkeys(e["object_id"] for e in everything)))
        datasets = {s: self._dataset(s, entries, problems) for s, entries in chosen.items()}
        if needs_reference:
            shared = self._dataset("reference", reference, problems)
            for dataset in datasets.values():
                dataset.set_reference(shared)
        return datasets

    @cached_property
    def used_splits(self) -> list[str]:
        """Splits that have annotations and, within a run, are trained on or scored."""
        splits = [split for split in SPLITS if self._annotation(split) is not None]
        run = self._run()
        if run is None:
            return splits
        used = {*(run.valid_splits or ()), *(run.test_splits or ())}
        used |= set() if run.evaluate else {*run.train_splits}
        return [split for split in splits if split in used]

    @cached_property
    def held_out(self) -> HeldOut:
        """The rule of the splits."""
        info = self.config.build_info
        fraction = float(info.holdout.fraction)
        if not 0 <= fraction < 1:
            where = self._key("holdout.fraction")
            raise ConfigError(
                "a share is out of range", where=where, got=fraction, expected="in [0,1)"
            )
        tested = info.ids.test_storage
        return HeldOut(
            frozenset(self.train_ids),
            None if tested is None else frozenset(self._ids("test_storage")),
            fraction,
            int(info.holdout.seed),
        )

    @cached_property
    def train_ids(self) -> list[str]:
        """The training list."""
        return self._ids("storage")

    def _ids(self, key: str) -> list[str]:
        path = storage_path(self.config.build_info.ids[key])
        return read_ids(path, self._key(f"ids.{key}"))

    def _entries(self, split: str) -> list[Entry]:
        """Return the records of a split; none is an error."""
        entries = self._candidates(split)
        if not entries:
            raise DataError(
                f"the split {split!r} is empty",
                where=f"{self._key(f'annotations.{split}.storage')}: {self._annotation(split)}",
                got=f"{len(self.train_ids)} uids in the training list (ids.storage)",
                expected="uids of the training list (train) or held-out uids (val, test)",
                fix="hold objects out by ids.test_storage or holdout.fraction, the same in "
                "every stage (configs/datasets/objaverse/defaults_cap.yaml has the rule)",
            )
        return take(entries, self.config.build_info.limit.get(split), "object_id")

    def _candidates(self, split: str) -> list[Entry]:
        """Return every record that belongs to a split."""
        path = storage_path(str(self._annotation(split)))
        captions = read_captions(path, self._key(f"annotations.{split}.storage"))
        if split == "train":
            uids = [uid for uid in self.train_ids if uid in captions and uid not in self.held_out]
            logging.info("%s: %d of %d listed uids", path, len(uids), len(self.train_ids))
        else:
            uids = [uid for uid in captions if uid in self.held_out]
        remove = word_remover(list(self.config.build_info.remove_words))

        def cleaned(text: Any) -> Any:
            """Return a caption or each of several; the data set refuses anything but text."""
            if isinstance(text, list):
                return [cleaned(one) for one in text]
            return remove(text) if isinstance(text, str) else text

        return [{"object_id": uid, "caption": cleaned(captions[uid])} for uid in uids]

    def _reference_entries(self) -> list[Entry]:
        """Return training objects for the nearest-neighbour baseline, perhaps none."""
        storage = self._annotation("train")
        if storage is None or not storage_path(storage).exists():
            entries = []
        else:
            entries = self._candidates("train")
        if not entries:
            logging.warning("no training objects: scores come without the copying baselines")
        return take(entries, self.config.build_info.limit.reference, "object_id")

    def _dataset(self, split: str, entries: list[Entry], problems: dict[str, str]) -> RecordDataset:
        mode = "train" if split == "train" else "eval"
        points, texts = (kind[mode] for kind in self.processors)
        # Baselines copy from whatever is there; scores and training need (nearly) everything.
        share = 1.0 if split == "reference" else self.config.build_info.max_bad_fraction
        dataset = self.dataset_cls(
            entries,
            [PointLoader(self.store, points), CaptionLoader(texts, draws=split == "train")],
            where=f"{[f'{self.name} {split}']}",
            max_bad_fraction=float(share),
            seed=int(self.config.build_info.augmentation_seed),
        )
        dataset.leave_out(lambda entry: problems.get(entry["object_id"]))
        return dataset

    @cached_property
    def store(self) -> FilePointStore:
        """Location of the clouds."""
        points = self.config.build_info.points
        folder = storage_path(points.storage)
        return open_store(folder, points.pattern, points.array_name, self._key("points.pattern"))

    def _problems(self, object_ids: list[str]) -> dict[str, str]:
        """Check the clouds on rank 0; every rank gets {uid: why it cannot be used}."""
        points = self.config.build_info.points
        if not points.check:
            return {}
        checks: dict[str, CloudCheck] = {}
        store = self.store
        if is_main_process():
            cache = points.check_cache
            checks = check_clouds(store, object_ids, storage_path(cache) if cache else None)
            self._report_sizes(checks)
        problems = {uid: check.problem for uid, check in checks.items() if check.problem}
        return broadcast_object(problems)

    def _report_sizes(self, checks: dict[str, CloudCheck]) -> None:
        """Say once that clouds of another size are resampled."""
        expected = int(self.config.point_processor.eval.num_points)
        sizes = Counter(check.num_points for check in checks.values() if not check.problem)
        others = {size: count for size, count in sizes.items() if size != expected}
        if others:
            logging.warning(
                "%d of %d clouds do not have %d points (e.g. %s): they are resampled",
                sum(others.values()),
                len(checks),
                expected,
                ", ".join(f"{count} with {size}" for size, count in sorted(others.items())[:3]),
            )

    def _run(self) -> Any:
        """Return the `run:` section of the run that this builder belongs to, or None."""
        running = registry.get("configuration", no_warning=True)
        sections = getattr(running, "datasets_cfg", None) or {}
        mine = any(sections[name] is self.config for name in sections)
        return running.run_cfg if mine else None

    def _annotation(self, split: str) -> str | None:
        section = self.config.build_info.annotations.get(split)
        return None if section is None else section.get("storage")

    def _key(self, key: str) -> str:
        return f"datasets.{self.name}.build_info.{key}"


def storage_path(path: str) -> Path:
    """Resolve a storage key: absolute, or below `cache_root`."""
    return Path(utils.get_cache_path(path))
