"""What a model can do: one protocol for each ability, and the check before a run.

A model declares its abilities in a class attribute:

    class MyModel(BaseModel):
        abilities = (JointEmbedder, Captioner)
        modalities = ("point", "text")

Tasks name the abilities they need (`PointTask.needs`); `check_abilities` refuses a model
without them before anything is trained or evaluated. `docs/abilities.md` lists models by abilities
(`python -m lavis.evaluation.ability_table`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from lavis.common.errors import ConfigError

Batch = Mapping[str, Any]


class Embedder(Protocol):
    """Embeds items for comparison with each other by the cosine."""

    modalities: tuple[str, ...]

    def embed(self, batch: Batch, modality: str) -> Tensor:
        """Return embeddings [B,E] or [B,Q,E]; those of a JointEmbedder are unit."""


class JointEmbedder(Embedder, Protocol):
    """Embeds every modality and texts in one space; of Q embeddings the nearest one counts."""

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit embeddings [B,E]."""


class WordEmbedder(Protocol):
    """Puts objects among the word embeddings of a language model, where lengths count."""

    def mean_tokens(self, batch: Batch) -> Tensor:
        """Return the objects' mean tokens [B,E], not normalised."""

    def save_initial_weights(self, folder: str | Path) -> Path:
        """Write the trained part as it is now, the start that the alignment study compares with."""

    def embed_words(self, batch: Batch) -> dict[str, Any]:
        """Return `points` and `texts` [B,E], not normalised, and `words`, B tensors [T,E]."""


class Reranker(Protocol):
    """Scores pairs of an object and a text together, after contrast chose the candidates."""

    def embed_for_matching(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the unit embeddings [B,Q,E] and the tokens [B,G,D] that matching reads."""

    def match_scores(self, point_tokens: Tensor, texts: Sequence[str]) -> Tensor:
        """Return log-odds [M] of aligned pairs: tokens [M,G,D] and M texts."""

    def temperature(self) -> Tensor:
        """Return what cosines are divided by to be log-odds, too."""


class Captioner(Protocol):
    """Writes texts about objects."""

    def generate(self, samples: dict[str, Any], *args: Any, **kwargs: Any) -> list[str]:
        """Return B captions."""


class TextRetriever(Protocol):
    """Looks up texts of similar objects before it writes."""

    def retrieved_captions(self, batch: Batch) -> list[list[str]]:
        """Return for each of B objects the texts, the nearest object's first; [] of no pool."""


class Answerer(Protocol):
    """Writes answers to questions about objects."""

    def answer(self, samples: dict[str, Any], *args: Any, **kwargs: Any) -> list[str]:
        """Return B answers to `samples["question"]`."""


class AnswerScorer(Protocol):
    """Scores candidate answers to questions about objects."""

    def score_answers(
        self, samples: dict[str, Any], candidates: Sequence[Sequence[str]]
    ) -> list[Tensor]:
        """Return per question [K,2]: summed log-likelihood and number of tokens."""


class SceneSegmenter(Protocol):
    """Classifies every point of a scene, among the classes of training or any words."""

    class_names: tuple[str, ...]

    def segment_points(self, batch: Batch, labels: Sequence[str] | None = None) -> Tensor:
        """Return logits [B,N,K] over `labels`; None: over `class_names`."""


class InstanceSegmenter(Protocol):
    """Separates the instances of a scene."""

    class_names: tuple[str, ...]

    def segment(self, batch: Batch) -> list[dict[str, Tensor]]:
        """Return per scene `masks` bool [K,N], `labels` [K] and `scores` [K], best first."""


class Detector(Protocol):
    """Finds the objects of a scene."""

    class_names: tuple[str, ...]

    def detect(self, batch: Batch) -> list[dict[str, Tensor]]:
        """Return per scene `boxes` [K,6|7], `labels` [K] and `scores` [K], best first."""


class ReferringSegmenter(Protocol):
    """Finds the object of a scene that a sentence means."""

    def refer(self, batch: Batch) -> Tensor:
        """Return logits [B,N] of the points that `batch["text_input"]` means; mask: above 0."""


ABILITIES: tuple[type, ...] = (
    Embedder,
    JointEmbedder,
    WordEmbedder,
    Reranker,
    Captioner,
    TextRetriever,
    Answerer,
    AnswerScorer,
    SceneSegmenter,
    InstanceSegmenter,
    Detector,
    ReferringSegmenter,
)
# ability -> the run key that requires it, e.g. "run.qa_mode=rank"
Needed = Mapping[type, str]


def can(model: Any, ability: type) -> bool:
    """Return whether a model (or its class) declares an ability."""
    return any(ability in declared.__mro__ for declared in getattr(model, "abilities", ()))


def members(ability: type) -> set[str]:
    """Return the names of the methods and attributes that an ability consists of."""
    protocols = [part for part in ability.__mro__ if part in ABILITIES]
    names = {name for part in protocols for name in (*vars(part), *part.__annotations__)}
    return {name for name in names if not name.startswith("_")}


def check_abilities(model: Any, needed: Needed, where: str) -> None:
    """Refuse a model that lacks an ability.

    Args:
        model: the model or its class.
        needed: {ability: the key that requires it}.
        where: the task or evaluation, for the message.

    Raises:
        ConfigError: names the missing ability, the key, and what the model can do.
    """
    kind = model if isinstance(model, type) else type(model)
    for ability, key in needed.items():
        if not can(model, ability):
            has = [other.__name__ for other in ABILITIES if can(model, other)]
            raise ConfigError(
                f"{kind.__name__} lacks the ability {ability.__name__} that {where} needs",
                where=key,
                got=f"a model that declares {', '.join(has) or 'no ability'}",
                expected=f"a model with {', '.join(sorted(members(ability)))}",
                fix="choose another model.arch or task (docs/abilities.md)",
            )


def check_modality(model: Any, modality: str) -> None:
    """Refuse a modality that a model does not embed.

    Raises:
        ConfigError: names the modality and those of the model.
    """
    if modality not in model.modalities:
        raise ConfigError(
            f"{type(model).__name__} does not embed {modality!r}",
            got=modality,
            expected=list(model.modalities),
        )
