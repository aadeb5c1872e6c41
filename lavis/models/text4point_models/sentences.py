"""Sentences about scenes: the states of their words, and which of them are about one scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lavis.common.errors import DataError
from lavis.datasets.samples import Batch, select
from lavis.models.teachers import Teacher


@torch.no_grad()
def sentence_words(teacher: Teacher, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return the states of the words of B sentences [B,T,W], and bool [B,T], which are real.

    A teacher without states of its words gives one state, the sentence's embedding.

    Raises:
        DataError: an empty sentence.
    """
    empty = [row for row, text in enumerate(sentences) if not str(text).strip()]
    if empty:
        what = "a sentence has no words"
        raise DataError(what, where="text_input", got=f"empty: items {empty}")
    read_words = getattr(teacher, "word_states", None)
    if read_words is not None:
        return read_words(list(sentences))
    embeds = teacher(list(sentences))[:, None]
    return embeds, torch.ones(embeds.shape[:2], dtype=torch.bool, device=embeds.device)


def distinct_scenes(batch: Mapping[str, Any]) -> tuple[Batch, Tensor]:
    """Return the batch with each scene once, and the scene of each of the B sentences.

    Rows of one `object_id` are one scene where their points are equal.

    Returns:
        The batch of S scenes, and Long [B].
    """
    clouds = batch["point_cloud"]
    names = batch.get("object_id", range(len(clouds)))
    first: list[int] = []
    scene_of: list[int] = []
    for row, name in enumerate(names):
        same = (k for k, at in enumerate(first) if names[at] == name)
        place = next((k for k in same if torch.equal(clouds[first[k]], clouds[row])), len(first))
        first += [row] if place == len(first) else []
        scene_of.append(place)
    if len(first) == len(clouds):
        return dict(batch), torch.arange(len(clouds))
    return select(dict(batch), torch.tensor(first)), torch.tensor(scene_of)


def meant_points(samples: Mapping[str, Any], device: torch.device) -> Tensor:
    """Return the points that each sentence of a training batch means, bool [B,N].

    Raises:
        DataError: no targets in the batch.
    """
    if "target_instance" not in samples or "instance_label" not in samples:
        what = "training of referring needs instance_label and target_instance"
        raise DataError(what, got=sorted(samples), fix="use a *_referring data set")
    wanted = torch.as_tensor(samples["target_instance"], device=device)
    return samples["instance_label"].to(device) == wanted[:, None]
