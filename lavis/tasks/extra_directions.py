"""Optional directions of retrieval: object to object, and image to object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from lavis.common.dist_utils import gather_object_list
from lavis.common.errors import ConfigError
from lavis.datasets.data_utils import move_to_device
from lavis.evaluation.baselines import chance_retrieval
from lavis.evaluation.retrieval import RetrievalScores, streamed_retrieval_scores


def object_to_object(
    embeds: np.ndarray, labels: list[Any]
) -> tuple[str, RetrievalScores, list[list[int]]]:
    """Retrieve the other objects of a label from embeddings [N,Q,E]; single ones are no queries."""
    partners = same_label(labels)
    rows, positives = list(partners), list(partners.values())
    scores = streamed_retrieval_scores(embeds[rows], embeds, positives, own_index=rows)
    return "object_to_object", scores, positives


def same_label(labels: list[Any]) -> dict[int, list[int]]:
    """Return {row: the other rows of its label} of all rows that have some; None is no label.

    Raises:
        ConfigError: no two rows share a label.
    """
    members: dict[Any, list[int]] = {}
    for row, label in enumerate(labels):
        members.setdefault(label, []).append(row)
    rows = [k for k, label in enumerate(labels) if label is not None and len(members[label]) > 1]
    if not rows:
        raise ConfigError(
            "no two objects share a category",
            where="run.extra_directions: object_to_object",
            fix="evaluate a split whose annotations have `category`",
        )
    return {row: [other for other in members[labels[row]] if other != row] for row in rows}


def add_direction(
    metrics: dict[str, Any],
    baselines: dict[str, dict[str, Any]],
    name: str,
    scores: RetrievalScores,
    positives: list[list[int]],
) -> None:
    """Add a direction's metrics and its chance under its name."""
    chance = chance_retrieval([len(own) for own in positives], scores.n_gallery)
    metrics |= {f"{name}/{metric}": entry for metric, entry in scores.metrics().items()}
    baselines["chance"] |= {f"{name}/{metric}": value for metric, value in chance.items()}


@torch.no_grad()
def embed_images(model: Any, data_loader: Any) -> dict[str, np.ndarray]:
    """Embed every object's image [E] in the space of the objects, for rank 0.

    Batches bring `image` or the features `image_embeds` for a model that embeds images; for another
    model `image_embeds` [B,E] or [B,V,E] of its own space.
    """
    own: dict[str, np.ndarray] = {}
    for samples in data_loader:
        samples = move_to_device(samples, model.device)
        embeds_images = "image" in model.modalities
        check_images(samples, embeds_images)
        if embeds_images:
            embeds = model.embed(samples, "image")
        else:
            embeds = samples["image_embeds"]
            embeds = embeds.mean(1) if embeds.ndim == 3 else embeds
        rows = torch.as_tensor(embeds).float().cpu().numpy()
        own.update(zip(map(str, samples["instance_id"]), rows, strict=True))
    return {i: row for part in gather_object_list(own) for i, row in part.items()}


def check_images(samples: Mapping[str, Any], embeds_images: bool = True) -> None:
    """Refuse a batch without images.

    Args:
        samples: a batch.
        embeds_images: whether the model does; else `image_embeds` has to be there.

    Raises:
        ConfigError: names what the batch holds.
    """
    if "image_embeds" in samples or (embeds_images and "image" in samples):
        return
    raise ConfigError(
        "there are no images to search with",
        where="run.extra_directions: image_to_object",
        got=sorted(samples),
        expected="image_embeds, or image and a model that embeds images",
    )
