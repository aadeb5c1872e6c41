"""Training objects that baselines learn from: always the full training split of a data set.

A data set's `limit` shortens what is trained on or evaluated, never this pool. Boxes and clouds are
those of the unaltered store, also on splits under a control or a corruption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lavis.common.errors import EvaluationError
from lavis.evaluation.altered_splits import original_store
from lavis.evaluation.baselines import features as features_module
from lavis.evaluation.baselines import neighbours
from lavis.evaluation.baselines.cache import MANIFEST, code_digest, load_or_compute
from lavis.evaluation.baselines.features import ObjectFeatures, object_features, text_digest
from lavis.evaluation.records import first_few

Entry = Mapping[str, Any]
ORDERS = {
    "nearest_box": neighbours.box_order,
    "nearest_histogram": neighbours.histogram_order,
    "nearest_chamfer": neighbours.chamfer_order,
}


@dataclass(frozen=True)
class Pool:
    """Training records and features, and the objects that are evaluated against them.

    Attributes:
        train: records of the full training split, but for objects whose cloud cannot be read.
        whole: number of records of the whole training split.
        train_ids: [m] distinct object ids of `train`; empty where records name no objects.
        object_ids: [n] distinct ids of the evaluated objects.
        train_features: of the m training objects; None where there are no boxes and no clouds.
        features: of the n evaluated objects; None as above.
        store: the point store, whose folder caches results.
        unit: of the boxes, where the data set's texts name whole ones of it ("stud").
    """

    train: list[Entry]
    whole: int
    train_ids: list[str]
    object_ids: list[str]
    train_features: ObjectFeatures | None = None
    features: ObjectFeatures | None = None
    store: Any = None
    unit: str | None = None

    @property
    def size(self) -> dict[str, int]:
        """Return the number of training records used, and of the whole training split."""
        return {"used": len(self.train), "whole": self.whole}

    @property
    def pair(self) -> tuple[ObjectFeatures, ObjectFeatures] | None:
        """Return the features of training and of evaluated objects; None without them."""
        if self.train_features is None or self.features is None:
            return None
        return self.train_features, self.features

    @cached_property
    def orders(self) -> dict[str, np.ndarray]:
        """Return {baseline: training objects from near to far, int32 [n,m]}, where possible."""
        return {} if self.pair is None else self._cached_orders(*self.pair)

    @property
    def best_order(self) -> np.ndarray | None:
        """Return the order by chamfer distance, else by histogram: int32 [n,m]; None without."""
        names = [n for n in ("nearest_chamfer", "nearest_histogram") if n in self.orders]
        return self.orders[names[0]] if names else None

    @cached_property
    def tables(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return forest features of training [m,F] and evaluated objects [n,F]; None without."""
        return self._tables(colors=True)

    @cached_property
    def joint_spaces(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return histogram and box of training [m,G] and evaluated objects [n,G]; None without."""
        if self.pair is None:
            return None
        train, asked = (part.joint_space() for part in self.pair)
        return None if train is None or asked is None else (train, asked)

    @cached_property
    def shape_tables(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the same without colours, which do not matter for classes."""
        return self._tables(colors=False)

    def _tables(self, colors: bool) -> tuple[np.ndarray, np.ndarray] | None:
        if self.pair is None:
            return None
        train, asked = (part.table(colors) for part in self.pair)
        return None if train is None or asked is None else (train, asked)

    def _cached_orders(self, known: ObjectFeatures, asked: ObjectFeatures) -> dict[str, np.ndarray]:
        folder = features_module.prepared_folder(self.store)
        manifest = None if folder is None else features_module.file_digest(folder / MANIFEST)
        return load_or_compute(
            folder / features_module.CACHE_FOLDER if folder and manifest else None,
            "neighbours",
            {
                "manifest": manifest,
                "train": text_digest(self.train_ids),
                "objects": text_digest(self.object_ids),
                "sized": known.boxes is not None,
                "code": code_digest(neighbours.__file__, features_module.__file__),
            },
            lambda: all_orders(asked, known),
        )


def all_orders(objects: ObjectFeatures, train: ObjectFeatures) -> dict[str, np.ndarray]:
    """Return {baseline: training objects from near to far, int32 [n,m]}, where possible."""
    found = {name: order_by(objects, train) for name, order_by in ORDERS.items()}
    return {name: order for name, order in found.items() if order is not None}


def pool_of(dataset: Any, object_ids: Sequence[str]) -> Pool:
    """Return the pool of a data set's baselines.

    Args:
        dataset: with `train_annotation()`; without it there are no training records.
        object_ids: objects of the evaluated items, repeats allowed.
    """
    read = getattr(dataset, "train_annotation", None)
    store = original_store(dataset) if hasattr(dataset, "point_store") else None
    records = list(read()) if read is not None else []
    return build_pool(records, object_ids, store, getattr(dataset, "unit", None))


def build_pool(
    train: Sequence[Entry], object_ids: Sequence[str], store: Any, unit: str | None = None
) -> Pool:
    """Return the pool of training records, evaluated objects and their store (None without)."""
    named = bool(train) and all("object_id" in entry for entry in train)
    train_ids = list(dict.fromkeys(str(entry["object_id"]) for entry in train)) if named else []
    asked = list(dict.fromkeys(map(str, object_ids)))
    known = object_features(store, train_ids) if store is not None and train_ids else None
    wanted = object_features(store, asked) if known is not None and asked else None
    if known is None or not asked:
        return Pool(list(train), len(train), train_ids, asked, store=store, unit=unit)
    absent = set(asked) - set(wanted.ids.tolist() if wanted is not None else [])
    if absent:
        raise EvaluationError(
            "evaluated objects have no features for the baselines",
            where=f"objects {first_few(sorted(absent))}",
            fix="annotations and clouds must come from the same preparation",
        )
    usable = set(known.ids.tolist())
    kept = [entry for entry in train if str(entry["object_id"]) in usable]
    return Pool(kept, len(train), known.ids.tolist(), asked, known, wanted, store, unit)
