"""Texts, text features and image features of OpenShape's records, drawn as published.

A record may have texts of its own (`text`), two captions (`blip_caption`, `msft_caption`) and texts
retrieved by its image (`retrieval_text`), each with features; features of 12 views and of a
thumbnail. Missing fields are left out and marked in the masks of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lavis.common.errors import DataError
from lavis.datasets.datasets.annotations import Entry
from lavis.datasets.samples import Sample
from lavis.datasets.stores.pickled_records import PickledRecordStore

SOURCES = ("text", "caption", "retrieval_text")
PROMPTS = ("prompt_avg", "original")  # mean over the templates, or the text alone
CAPTIONS = ("blip_caption", "msft_caption")


@dataclass(frozen=True)
class OpenShapeTexts:
    """Load text_input, caption (as in the file) and text_embeds [E] of one text of a record.

    In training one source is drawn uniformly of those that the record has; evaluation takes the
    first in the order of `sources`. Without any, text_input is "" and text_embeds is absent.

    Attributes:
        store: of the records.
        text_processor: applied to the drawn text.
        sources: of `SOURCES`.
        flags: {object id: flag}; an own text flagged "N" is not used (`gpt4_filtering.json`).
        prompt: which features of own texts and captions; retrieved ones have `original` alone.
        features: load text_embeds.
        draws: draw, for training.
        space: of the features.
    """

    store: PickledRecordStore
    text_processor: Callable[[str], str]
    sources: Sequence[str] = SOURCES
    flags: Mapping[str, str] | None = None
    prompt: str = "prompt_avg"
    features: bool = True
    draws: bool = False
    space: str | None = None
    stream = "text:"

    def load(self, record: Entry, rng: np.random.Generator) -> Sample:
        """Return the texts and ids of an object, and the features of the text."""
        content, name = self.store.record(record["object_id"]), record["object_id"]
        drawn = rng if self.draws else None
        found = [pair for source in self.sources for pair in self._of(source, name, content, drawn)]
        row = int(drawn.integers(len(found))) if drawn is not None and found else 0
        text, features = found[row] if found else ("", None)
        if not found:
            self.store.notes.say(name, {"text": "no text of the chosen kinds"})
        ids = {key: record[key] for key in ("instance_id", "object_id")}
        sample: Sample = {**ids, "text_input": self.text_processor(text), "caption": text}
        if not self.features or features is None:
            return sample
        return sample | {"text_embeds": vector(features, "text features", self.store, name)}

    def _of(
        self, source: str, name: str, content: dict[str, Any], rng: np.random.Generator | None
    ) -> list[tuple[str, Any]]:
        """Return [(text, features)] of one source, or nothing."""
        if source == "caption":
            kind = CAPTIONS[0 if rng is None else int(rng.integers(2))]
            texts, features = [content.get(kind)], [content.get(f"{kind}_feat")]
        elif source == "text" and (self.flags or {}).get(name) == "N":
            return []
        else:
            texts, features = content.get(source) or [], content.get(f"{source}_feat") or []
        # Objaverse's first text is its name; of the other data sets one is drawn.
        first = source == "text" and content.get("dataset") == "Objaverse"
        row = 0 if rng is None or first or not texts else int(rng.integers(len(texts)))
        text = texts[row] if texts else None
        if not isinstance(text, str) or not text.strip():
            return []
        prompt = "original" if source == "retrieval_text" else self.prompt
        own = features[row] if row < len(features) else None
        return [(text, own.get(prompt) if isinstance(own, Mapping) else own)]


@dataclass(frozen=True)
class OpenShapeImages:
    """Load image_embeds [V,E] and their mask [V] of a record.

    In training V views are drawn with replacement; for half of Objaverse's samples the thumbnail
    takes the place of one. Evaluation takes V views at equal steps.

    Attributes:
        store: of the records.
        views: V.
        draws: draw, for training.
        space: of the features.
    """

    store: PickledRecordStore
    views: int = 4
    draws: bool = False
    space: str | None = None
    stream = "image:"

    def load(self, record: Entry, rng: np.random.Generator) -> Sample:
        """Return the features of some views, or nothing."""
        name = record["object_id"]
        content = self.store.record(name)
        features, thumbnail = content.get("image_feat"), content.get("thumbnail_feat")
        if features is None or len(features) == 0:
            self.store.notes.say(name, {"image": "no features of views: it leaves the image terms"})
            return {}
        chosen = np.arange(self.views) * len(features) // self.views
        if self.draws:
            chosen = rng.integers(len(features), size=self.views)
        views = [vector(features[row], "image features", self.store, name) for row in chosen]
        has_thumbnail = content.get("dataset") == "Objaverse" and thumbnail is not None
        if self.draws and has_thumbnail and rng.random() < 0.5:
            views[0] = vector(thumbnail, "image features", self.store, name)
        mask = torch.ones(len(views), dtype=torch.bool)
        return {"image_embeds": torch.stack(views), "image_embeds_mask": mask}


def vector(values: Any, what: str, store: PickledRecordStore, object_id: str) -> Tensor:
    """Return features [E] or [1,E] as float32 [E].

    Raises:
        DataError: no numbers, or another shape.
    """
    array = np.asarray(values)
    if array.dtype.kind != "f" or array.size == 0 or array.size != array.shape[-1]:
        got = f"{what}: {array.dtype} {array.shape}"
        where = str(store.path(object_id))
        what = "features of a record cannot be used"
        raise DataError(what, where=where, got=got, expected="numbers [E] or [1,E]")
    return torch.from_numpy(array.reshape(-1).astype(np.float32))
