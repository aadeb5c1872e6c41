"""Compare precomputed embeddings with the model that reads them, and count objects without any.

Checked before the first step and before an evaluation.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lavis.common.errors import ConfigError, DataError
from lavis.datasets.fields.embeds import EmbedsLoader

KEY = "datasets.{}.build_info.{}"
FEATURES = "datasets.{}.build_info.features"
FIXES = {
    "image_embeds": "embed the views with the model's teacher (embed_views --text-teacher)",
    "audio_embeds": "train the head of sounds for the model's teacher (train_sound_head)",
}
FEATURES_FIX = (
    "model.space=<that space>, or build_info.features.text=False and features.image=False"
)
SHOWN = 5


def check_embeds(model: Any, datasets: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare the embeddings of data sets with a model that reads them; log absent objects.

    Args:
        model: with `modalities` and the `space` of its teachers (None: not known).
        datasets: {data set: {split: dataset}}.

    Raises:
        ConfigError: a teacher of another space.
        DataError: a file that names no object of the data set.
    """
    objects: dict[str, set[str]] = {}  # field: ids
    absent: dict[str, dict[str, Path]] = {}  # field: {id: file}
    for name, splits in datasets.items():
        ids = {str(r["object_id"]) for d in splits.values() for r in getattr(d, "annotation", ())}
        for loader in _loaders(splits, getattr(model, "modalities", ())):
            _check_space(model, name, loader)
            if not isinstance(loader, EmbedsLoader):
                continue  # features in the objects' own files, which are not opened here
            missing = {object_id for object_id in ids if object_id not in loader}
            if ids and missing == ids:
                what, got = "no object of the data set has embeddings", f"{len(loader.row_of)}"
                where = f"{KEY.format(name, loader.name)}: {loader.path}"
                raise DataError(what, where=where, got=f"those of {got} other objects")
            objects.setdefault(loader.name, set()).update(ids)
            absent.setdefault(loader.name, {}).update(dict.fromkeys(missing, loader.path))
    for field, missing_of in absent.items():
        _log_absent(field, missing_of, len(objects[field]))


def _log_absent(field: str, absent: Mapping[str, Path], total: int) -> None:
    """Log how many objects have no views (rare), or how many have a sound (few do)."""
    files = ", ".join(sorted({str(path) for path in absent.values()}))
    if field == "audio_embeds":
        logging.info("%d of %d objects have a sound in %s", total - len(absent), total, files)
    elif absent:
        shown = ", ".join(sorted(absent)[:SHOWN])
        message = "%d of %d objects have no views in %s and leave the image terms: %s, …"
        logging.warning(message, len(absent), total, files, shown)


def _loaders(splits: Mapping[str, Any], modalities: Sequence[str]) -> list[Any]:
    """Return the loaders that name a teacher's space and a modality of the model, each once.

    Features of texts in the objects' files are read beside those of images.
    """
    loaders = (loader for dataset in splits.values() for loader in getattr(dataset, "loaders", ()))
    named = {id(loader): loader for loader in loaders if hasattr(loader, "space")}
    return [one for one in named.values() if _modality(one) in modalities]


def _modality(loader: Any) -> str:
    is_file = isinstance(loader, EmbedsLoader)
    return loader.name.removesuffix("_embeds") if is_file else "image"


def _check_space(model: Any, name: str, loader: Any) -> None:
    own = getattr(model, "space", None)
    if None not in (own, loader.space) and own != loader.space:
        what = "embeddings of the data set and of the model are of different spaces"
        is_file = isinstance(loader, EmbedsLoader)
        place = loader.path if is_file else loader.store.folder
        key = KEY.format(name, loader.name) if is_file else FEATURES.format(name)
        where = f"model.space, model.text_teacher and {key}"
        got, fix = f"{loader.space} in {place}", FIXES.get(loader.name) if is_file else FEATURES_FIX
        raise ConfigError(what, where=where, got=got, expected=own, fix=fix)
