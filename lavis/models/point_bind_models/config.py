"""Yaml keys of Point-Bind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lavis.config import option
from lavis.models.point_encoders.model_config import PointModelConfig

POSITIVES = ("text", "item")


@dataclass(frozen=True)
class PointBindConfig(PointModelConfig):
    """Keys of `point_bind`.

    Attributes:
        embed_dim: E of the joint space (ImageBind: 1024).
        text_teacher: embeds texts: `minilm`, a folder or a hub name; null: `text_embeds` come with
            the batch.
        space: name of the joint space where embeddings come with the batch, e.g. `imagebind`; null
            takes the text teacher's.
        text_templates: texts with one {}; the target is the mean over them. A single entry
            without {} is a set by name (`ensemble64`: 64 of our own wording) or a file, e.g. the
            release's templates.json (lavis/evaluation/prompt_sets.py).
        layers: linear layers behind the encoder: 1, 2 or 3.
        hidden: width between them.
        dropout: before the last one.
        image: weight of L(P,I); 0 leaves the term out.
        text: weight of L(P,T).
        audio: weight of L(P,A).
        init_scale: of the cosines at first.
        learn_scale: train the scales.
        positives: `text`: equal texts, and sounds of one class, are positives of each other;
            `item`: a pair alone.
    """

    embed_dim: int = option(1024, low=1)
    text_teacher: str | None = None
    space: str | None = None
    text_templates: Sequence[str] = option(["{}"])
    layers: int = option(2, low=1, high=3)
    hidden: int = option(512, low=1)
    dropout: float = option(0.5, low=0.0, high=1.0)
    image: float = option(1.0, low=0.0)
    text: float = option(1.0, low=0.0)
    audio: float = option(1.0, low=0.0)
    init_scale: float = option(1 / 0.07, low=1.0, high=100.0)
    learn_scale: bool = True
    positives: str = option("item", choices=POSITIVES)
