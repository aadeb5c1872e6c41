"""A trained system: what its models can do with objects, under one name each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lavis.common.errors import ConfigError, DataError
from lavis.datasets.samples import collate
from lavis.models.abilities import (
    Answerer,
    AnswerScorer,
    Captioner,
    Embedder,
    JointEmbedder,
    SceneSegmenter,
    can,
)
from lavis.tasks.embedding import object_embeddings, similarity
from lavis.tasks.point_classification import class_embeddings
from pointlang.objects import Object, object_of_array, read_object

# ability of the facade -> abilities of models, any of which is enough
ABILITIES: dict[str, tuple[type, ...]] = {
    "caption": (Captioner,),
    "ask": (Answerer,),
    "classify": (JointEmbedder, AnswerScorer),
    "embed": (Embedder,),
    "retrieve": (Embedder,),
    "segment": (SceneSegmenter,),
}
Parts = tuple[Any, Any, dict[str, Any]]  # model, processor of clouds, decoding
BATCH_SIZE = 16
TEMPERATURE = 0.07  # of probabilities from cosines, as CLIP starts
TEMPLATES = ("{}", "a point cloud of a {}")
QUESTION = "What is this?"
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")

Objects = str | Path | Object | np.ndarray | Sequence[str | Path | Object | np.ndarray]


@dataclass
class Member:
    """One model of a system.

    Attributes:
        name: of its run.
        kind: class of the model, which declares its abilities.
        build: returns the model, its processor of clouds, and its decoding options.
    """

    name: str
    kind: type
    build: Callable[[], Parts]

    @property
    def abilities(self) -> tuple[str, ...]:
        """Names of `ABILITIES` that the model can do."""
        return tuple(
            name for name, any_of in ABILITIES.items() if any(can(self.kind, a) for a in any_of)
        )

    @cached_property
    def parts(self) -> Parts:
        """What `build` returns, built once."""
        return self.build()


@dataclass(frozen=True)
class Gallery:
    """Embedded objects to search in.

    Attributes:
        names: N names.
        embeds: [N,E] or [N,Q,E] of the model that searches.
    """

    names: list[str]
    embeds: Tensor


@dataclass(frozen=True)
class Segmentation:
    """Labels of a room's points.

    Attributes:
        labels: K words.
        label_of_point: int64 [N], rows of `labels`.
        confidence: float32 [N], softmax of the label.
        xyz: float32 [N,3] in the file's unit, +y up, centred.
        rgb: float32 [N,3] in [0,1].
    """

    labels: tuple[str, ...]
    label_of_point: np.ndarray
    confidence: np.ndarray
    xyz: np.ndarray
    rgb: np.ndarray

    def shares(self) -> dict[str, float]:
        """Return the share of the points of each label, most first."""
        counts = np.bincount(self.label_of_point, minlength=len(self.labels))
        order = np.argsort(-counts, kind="stable")
        return {self.labels[k]: float(counts[k] / counts.sum()) for k in order}


class System:
    """Answers with the first of its models that can.

    Args:
        name: for messages.
        members: models, in the order of preference.
        device: of the models.
        known_size: give models the size of objects in the file's unit. By default sizes are
            unknown to them: a file rarely has the unit of the training data.
        image_teacher: embeds pictures for `retrieve`, see `own_files.image_teacher`.
    """

    def __init__(
        self,
        name: str,
        members: Sequence[Member],
        device: torch.device,
        known_size: bool = False,
        image_teacher: str = "conse",
    ) -> None:
        self.name, self.members, self.device = name, list(members), device
        self.known_size, self.image_teacher = known_size, image_teacher

    @property
    def abilities(self) -> tuple[str, ...]:
        """What the system can do, names of `ABILITIES`."""
        return tuple(a for a in ABILITIES if any(a in member.abilities for member in self.members))

    def caption(self, objects: Objects, **decoding: Any) -> list[str]:
        """Return a caption of each object.

        Args:
            objects: paths, `Object`s or arrays [N,3|6]; one or several.
            decoding: num_beams, max_length, min_length, top_p, temperature, prompt.
        """
        model, processor, defaults = self._parts("caption")
        return self._each(
            as_objects(objects),
            processor,
            lambda batch: model.generate(batch, **(defaults | decoding)),
        )

    def ask(
        self,
        objects: Objects,
        question: str,
        history: Sequence[tuple[str, str]] = (),
        **decoding: Any,
    ) -> Any:
        """Answer a question about an object (a text), or about several (a list).

        Args:
            objects: one or several.
            question: a text.
            history: earlier (question, answer) pairs about the object; put before the question.
            decoding: num_beams, max_len, min_len.

        Raises:
            DataError: an empty question.
        """
        if not question.strip():
            raise DataError("The question is empty.", expected=f'e.g. "{QUESTION}"')
        turns = [f"{asked} Answer: {answer}" for asked, answer in history]
        text = " Question: ".join([*turns, question.strip()])
        model, processor, _ = self._parts("ask")

        def answer(batch: dict[str, Any]) -> list[str]:
            count = len(batch["point_cloud"])
            return model.answer(batch | {"question": [text] * count}, **decoding)

        answers = self._each(as_objects(objects), processor, answer)
        return answers[0] if _is_one(objects) else answers

    def classify(self, objects: Objects, labels: Sequence[str]) -> list[dict[str, float]]:
        """Return per object {label: probability}, the likeliest first.

        A model with a joint space compares names with the cloud (softmax of cosines over the
        temperature 0.07); another one scores each name as the answer to "What is this?".

        Raises:
            DataError: fewer than two different labels, or an empty one.
        """
        names = list(dict.fromkeys(label.strip() for label in labels))
        if len(names) < 2 or not all(names):
            expected = "two or more different, not empty"
            raise DataError("Labels are missing.", got=list(labels), expected=expected)
        model, processor, _ = self._parts("classify", prefer=JointEmbedder)
        if can(model, JointEmbedder):
            classes = self._run(lambda: class_embeddings(model, names, TEMPLATES))

            def score(batch: dict[str, Any]) -> Tensor:
                return similarity(model.embed(batch, "point"), classes) / TEMPERATURE

        else:

            def score(batch: dict[str, Any]) -> Tensor:
                count = len(batch["point_cloud"])
                asked = batch | {"question": [QUESTION] * count}
                found = model.score_answers(asked, [names] * count)
                return torch.stack([one[:, 0] / one[:, 1] for one in found])

        rows = self._each(
            as_objects(objects), processor, lambda batch: score(batch).float().softmax(-1).tolist()
        )
        return [dict(sorted(zip(names, row), key=lambda pair: -pair[1])) for row in rows]

    def embed(self, objects: Objects) -> np.ndarray:
        """Return embeddings of objects, float32 [B,E] or [B,Q,E]."""
        return self.gallery(objects, "embed").embeds.numpy()

    def gallery(self, objects: Objects, ability: str = "retrieve") -> Gallery:
        """Embed objects once, to search in them several times."""
        model, processor, _ = self._parts(ability, prefer=JointEmbedder)
        found = as_objects(objects)
        rows = self._each(
            found, processor, lambda batch: list(object_embeddings(model, batch).float().cpu())
        )
        if not rows:
            raise DataError("There are no objects.", expected="one or more")
        return Gallery([one.name for one in found], torch.stack(rows))

    def retrieve(
        self, query: Any, gallery: Gallery | Objects, top: int = 5
    ) -> list[tuple[str, float]]:
        """Return (name, cosine) of the nearest objects of a gallery, the nearest first.

        Args:
            query: a text (str); a `Path`, `Object` or array: a cloud, or a picture (.png, .jpg).
            gallery: objects, or what `gallery` returned for them.
            top: how many.

        Raises:
            ConfigError: the model does not embed such a query.
        """
        if not isinstance(gallery, Gallery):
            gallery = self.gallery(gallery)
        own = self.query(query)
        scores = nearness(gallery.embeds, own)
        best = scores.argsort(descending=True, stable=True)[:top].tolist()
        return [(gallery.names[k], round(float(scores[k]), 6)) for k in best]

    def segment(self, room: Objects, labels: Sequence[str] | None = None) -> Segmentation:
        """Label every point of a room.

        Args:
            room: one path (read with up to 200,000 points), `Object` or array, in metres.
            labels: any words; None: the labels of training.
        """
        model, processor, _ = self._parts("segment")
        (found,) = as_objects(room)
        xyz = found.xyz * np.float32(found.scale)
        fields = processor({"xyz": xyz, "rgb": found.rgb})
        batch = self._batch([fields])
        logits = self._run(lambda: model.segment_points(batch, labels))[0].float().cpu()
        chosen = logits.softmax(-1).max(-1)
        count = min(len(xyz), len(logits))  # a processor may keep the first points alone
        return Segmentation(
            tuple(labels or model.class_names),
            chosen.indices.numpy()[:count],
            chosen.values.numpy()[:count],
            xyz[:count],
            found.rgb[:count],
        )

    def require(self, ability: str) -> None:
        """Refuse a prediction that no model of the system can do.

        Raises:
            ConfigError: names what the system can do.
        """
        if ability not in self.abilities:
            raise self._lacks(ability, ability)

    def query(self, query: Any) -> Tensor:
        """Return the embedding of a query: [1,E] or [1,Q,E]."""
        model, _, _ = self._parts("retrieve", prefer=JointEmbedder)
        if isinstance(query, Path) and query.suffix.lower() in IMAGES:
            return self._image(model, query)
        if not isinstance(query, str):
            return self.gallery(query).embeds
        if not can(model, JointEmbedder):
            raise self._lacks("retrieve", "search by a text")
        return self._run(lambda: model.embed_texts([query])).float().cpu()

    def _image(self, model: Any, path: Path) -> Tensor:
        """Embed a picture in the space of a model that embeds images."""
        if "image" not in getattr(model, "modalities", ()):
            raise self._lacks("retrieve", "search by a picture")
        from lavis.models.teachers.own_files import embed_image, image_teacher

        teacher = image_teacher(self.image_teacher, getattr(model, "text_teacher", None))
        embeds = embed_image(path, teacher).to(self.device)[:, None]  # [1,1,E]
        mask = torch.ones(1, 1, dtype=torch.bool, device=self.device)
        batch = {"image_embeds": embeds, "image_embeds_mask": mask}
        return self._run(lambda: model.embed(batch, "image")).float().cpu()

    def _parts(self, ability: str, prefer: type | None = None) -> Parts:
        """Return the first model with an ability, one with the ability `prefer` before others."""
        self.require(ability)
        able = [member for member in self.members if ability in member.abilities]
        if prefer is not None:
            able.sort(key=lambda member: not can(member.kind, prefer))
        return able[0].parts

    def _lacks(self, ability: str, what: str) -> ConfigError:
        return ConfigError(
            f"The system {self.name} cannot {what}.",
            where=ability,
            got=f"models {', '.join(member.name for member in self.members)}",
            expected=f"it can: {', '.join(self.abilities) or 'nothing of this list'}",
            fix="choose another system with --model (docs/abilities.md)",
        )

    def _each(
        self, objects: Sequence[Object], processor: Any, call: Callable[[dict[str, Any]], Any]
    ) -> list[Any]:
        """Call a function with batches of objects, and join what it returns."""
        results: list[Any] = []
        for start in range(0, len(objects), BATCH_SIZE):
            batch = self._batch([self._sample(o, processor) for o in objects[start:][:BATCH_SIZE]])
            with torch.inference_mode():
                results += call(batch)
        return results

    def _sample(self, one: Object, processor: Any) -> dict[str, Any]:
        size = torch.from_numpy(one.size) if self.known_size else torch.full((3,), torch.nan)
        return {
            "point_cloud": processor(one.points),
            "box_size": size,
            "instance_id": one.name,
        }

    def _batch(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        batch = collate([dict(sample) for sample in samples])
        return {
            name: value.to(self.device) if isinstance(value, Tensor) else value
            for name, value in batch.items()
        }

    @staticmethod
    def _run(call: Callable[[], Any]) -> Any:
        with torch.inference_mode():
            return call()


def nearness(gallery: Tensor, query: Tensor) -> Tensor:
    """Return the cosine of a query [1,E] | [1,P,E] with items [N,E] | [N,Q,E]: [N].

    Of several embeddings the nearest pair counts.
    """
    items = F.normalize(gallery if gallery.ndim == 3 else gallery[:, None], dim=-1)  # [N,Q,E]
    own = F.normalize(query if query.ndim == 3 else query[:, None], dim=-1)[0]  # [P,E]
    return (items @ own.T).flatten(1).amax(1)


def as_objects(objects: Objects) -> list[Object]:
    """Return `Object`s of paths, arrays or `Object`s, one or several."""
    if _is_one(objects):
        return [_as_object(objects)]
    return [_as_object(one) for one in cast(Iterable[Any], objects)]


def _is_one(objects: Objects) -> bool:
    return isinstance(objects, (str, Path, Object, np.ndarray))


def _as_object(one: Any) -> Object:
    if isinstance(one, Object):
        return one
    return object_of_array(one) if isinstance(one, np.ndarray) else read_object(one)
