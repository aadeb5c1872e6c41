"""Embeddings that a frozen teacher computed before: one file for a data set.

`build_info.image_embeds` and `build_info.audio_embeds` name such files (`embeds_loaders`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

import lavis.common.utils as utils
from lavis.common.errors import ConfigError, DataError
from lavis.datasets.datasets.annotations import Entry, repeat_records
from lavis.datasets.samples import Sample

MAKE = {
    "image_embeds": "python -m lavis.datasets.download_scripts.render_views, then python -m "
    "lavis.models.teachers.embed_views --views data/<objects>_views/views_4x128.zip",
    "audio_embeds": "python -m lavis.models.teachers.train_sound_head, then python -m "
    "lavis.models.teachers.embed_sounds",
}


class EmbedsLoader:
    """Load `image_embeds` float32 [V,E] and their mask bool [V] of an object.

    An object without an entry has no embedding; the batch's mask marks it. Where the file names
    classes, `<modality>_class` is the object's, "" without an entry.

    Args:
        path: of a safetensors file with the tensor `name` [N,V,E] and the metadata `ids` (JSON, N
            names) and `space` (lavis/models/teachers/embed_views.py writes one); `classes` may
            be there (JSON, N names).
        name: of the field.
        views: the first so many of an object; None: all.

    Attributes:
        path: of the file.
        space: of the teacher, as `Teacher.space`; None: unknown.

    Raises:
        DataError: no such file, a damaged one, or another content.
    """

    stream = "embeds:"

    def __init__(self, path: str | Path, name: str = "image_embeds", views: int | None = None):
        self.name, self.path = name, Path(path)
        try:
            with safe_open(path, "np") as file:
                facts, embeds = file.metadata() or {}, file.get_tensor(name)
            ids = json.loads(facts["ids"])
            classes = json.loads(facts.get("classes", "null"))
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            what = "a file of embeddings cannot be read"
            expected = f"the tensor {name} [N,V,E] and the names of N objects"
            fix = f"write it again: {MAKE.get(name, MAKE['image_embeds'])}"
            raise DataError(
                what, where=str(path), got=repr(error), expected=expected, fix=fix
            ) from error
        if embeds.ndim != 3 or len(ids) != len(embeds) or len(classes or ids) != len(ids):
            what, got = "embeddings and names differ", f"{list(embeds.shape)}, {len(ids)} names"
            raise DataError(what, where=str(path), got=got, expected="[N,V,E], N names")
        self.embeds: np.ndarray = embeds[:, :views]
        self.row_of = {str(object_id): row for row, object_id in enumerate(ids)}
        self.space = facts.get("space")
        self.class_of = None if classes is None else dict(zip(self.row_of, map(str, classes)))

    def __contains__(self, object_id: object) -> bool:
        return str(object_id) in self.row_of

    def load(self, record: Entry, rng: np.random.Generator) -> Sample:
        """Return the embeddings of an object's views."""
        object_id = str(record["object_id"])
        sample: Sample = {}
        if self.class_of is not None:
            sample[self.name.replace("embeds", "class")] = self.class_of.get(object_id, "")
        row = self.row_of.get(object_id)
        if row is None:
            return sample
        embeds = torch.from_numpy(self.embeds[row].astype(np.float32))
        mask = torch.ones(len(embeds), dtype=torch.bool)
        return {**sample, self.name: embeds, f"{self.name}_mask": mask}


def embeds_loaders(info: Mapping[str, Any], key: Callable[[str], str]) -> tuple[EmbedsLoader, ...]:
    """Open the files of embeddings that `build_info` names.

    Args:
        info: `build_info`.
        key: returns a key of it in full, for messages.

    Raises:
        DataError: no such file, or see `EmbedsLoader`.
    """
    loaders = []
    for name, fix in MAKE.items():
        if not info.get(name):
            continue
        path = Path(utils.get_cache_path(str(info[name])))
        if not path.is_file():
            where = f"{key(name)}: {path}"
            raise DataError("no embeddings of objects", where=where, fix=fix)
        loaders.append(EmbedsLoader(path, name))
    return tuple(loaders)


def repeat_sounding(
    entries: Sequence[Entry], loaders: Sequence[Any], info: Mapping[str, Any], key: str
) -> list[Entry]:
    """Name each object with a sound `build_info.audio_repeats` times: sounds are rare.

    Args:
        entries: records with `object_id` and `instance_id`.
        loaders: of the data set.
        info: `build_info`.
        key: `audio_repeats` in full, for messages.

    Raises:
        ConfigError: no whole number of at least 1, or no `audio_embeds`.
    """
    times = info.get("audio_repeats", 1)
    if times == 1:
        return list(entries)
    sounds = [one for one in loaders if getattr(one, "name", None) == "audio_embeds"]
    if not isinstance(times, int) or times < 1 or not sounds:
        what, expected = "objects with sounds cannot be repeated so", "a whole number of at least 1"
        got = f"{times}, {'with' if sounds else 'without'} audio_embeds"
        raise ConfigError(what, where=key, got=got, expected=f"{expected}, and embeddings")
    return repeat_records(entries, lambda entry: times if entry["object_id"] in sounds[0] else 1)
