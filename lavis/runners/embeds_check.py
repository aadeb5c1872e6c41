"""Compare precomputed embeddings with the model that reads them, and count objects without any.

Checked before the first step and before an evaluation.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lavis.common.errors import ConfigError, DataError, explain
from lavis.datasets.fields.embeds import EmbedsLoader

KEY = "datasets.{}.build_info.image_embeds"
FEATURES = "datasets.{}.build_info.features"
VIEWS_FIX = "embed the views with the model's teacher (embed_views --text-teacher)"
FEATURES_FIX = (
    "model.space=<that space>, or build_info.features.text=False and features.image=False"
)
SHOWN = 5


def check_embeds(model: Any, datasets: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare the embeddings of data sets with the model, if it reads images; log absent objects.

    Args:
        model: with `modalities` and the `space` of its teachers (None: not known).
        datasets: {data set: {split: dataset}}.

    Raises:
        ConfigError: a teacher of another space.
        DataError: a file that names no object of the data set.
    """
    if "image" not in getattr(model, "modalities", ()):
        return
    absent: dict[str, Path] = {}  # object: file
    objects: set[str] = set()
    for name, splits in datasets.items():
        ids = {str(r["object_id"]) for d in splits.values() for r in getattr(d, "annotation", ())}
        for loader in _loaders(splits):
            _check_space(model, name, loader)
            if not isinstance(loader, EmbedsLoader):
                continue  # features in the objects' own files, which are not opened here
            missing = {object_id for object_id in ids if object_id not in loader}
            if ids and missing == ids:
                what, got = "no object of the data set has views", f"views of {len(loader.row_of)}"
                where = f"{KEY.format(name)}: {loader.path}"
                raise DataError(explain(what, where=where, got=f"{got} other objects"))
            objects |= ids
            absent |= dict.fromkeys(missing, loader.path)
    if absent:
        shown = ", ".join(sorted(absent)[:SHOWN])
        files = ", ".join(sorted({str(path) for path in absent.values()}))
        message = "%d of %d objects have no views in %s and leave the image terms: %s, …"
        logging.warning(message, len(absent), len(objects), files, shown)


def _loaders(splits: Mapping[str, Any]) -> list[Any]:
    """Return the loaders of a data set's splits that name a teacher's space, each once."""
    loaders = (loader for dataset in splits.values() for loader in getattr(dataset, "loaders", ()))
    return list({id(loader): loader for loader in loaders if hasattr(loader, "space")}.values())


def _check_space(model: Any, name: str, loader: Any) -> None:
    own = getattr(model, "space", None)
    if None not in (own, loader.space) and own != loader.space:
        what = "embeddings of the data set and of the model are of different spaces"
        is_file = isinstance(loader, EmbedsLoader)
        place = loader.path if is_file else loader.store.folder
        where = f"model.space, model.text_teacher and {(KEY if is_file else FEATURES).format(name)}"
        got, fix = f"{loader.space} in {place}", VIEWS_FIX if is_file else FEATURES_FIX
        raise ConfigError(explain(what, where=where, got=got, expected=own, fix=fix))
