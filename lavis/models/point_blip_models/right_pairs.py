"""Which text is right for which object of a batch, beyond the pair that was drawn.

Training draws one of an object's texts. A class name ("brick") is then right for every object of
the class in the batch, and a description for every object that it is annotated to. Counting those
pairs as wrong teaches PTC and PTM that a brick does not match "brick". The rules:

    drawn       a pair is right when its text equals the object's drawn text
    annotated   … or any text that the object is annotated with: caption, description, category
    image_id    a pair is right when the batch gives both the same `image_id` (LAVIS after 1.0.2)
    row         only an object's own text is right (LAVIS 1.0.2, PointBLIP's release)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, stack

from lavis.common.dist_utils import get_rank
from lavis.common.errors import ConfigError
from lavis.models.contrastive import gather, pair_keys
from lavis.models.contrastive.text_keys import text_keys

RULES = ("drawn", "annotated", "image_id", "row")
# Fields of a sample that are right for its object. The number is fixed: ranks gather equal shapes.
TEXT_FIELDS = ("caption", "colored_caption", "description", "category")


@dataclass(frozen=True)
class PairKeys:
    """Integer keys of a batch's texts; a text is right for an object that has its key.

    Attributes:
        texts: key of each row's text [B].
        objects: keys of the texts that are right for each row's object, [B] or [B,K].
        all_texts: `texts` of all ranks [world*B].
        all_objects: `objects` of all ranks.
    """

    texts: Tensor
    objects: Tensor
    all_texts: Tensor
    all_objects: Tensor

    @classmethod
    def of(
        cls, samples: Mapping[str, Any], texts: Sequence[str], rule: str, device: Any = None
    ) -> PairKeys:
        """Build the keys of a batch and gather them over ranks.

        Args:
            samples: a batch; with rule `annotated` its fields of `TEXT_FIELDS` are read, with rule
                `image_id` that field: B numbers or texts.
            texts: the B texts that the loss reads, e.g. `samples["text_input"]`.
            rule: one of `RULES`.
            device: where the keys are.

        Raises:
            ConfigError: the rule is `image_id` and the batch has none.
        """
        if rule != "annotated":
            own = _row_keys(samples, texts, rule).to(device)
            everyone = gather(own)
            return cls(own, own, everyone, everyone)
        columns = [samples.get(field, texts) for field in ("text_input", *TEXT_FIELDS)]
        known = stack([text_keys(plain_words(column)) for column in columns], 1).to(device)  # [B,K]
        own = text_keys(plain_words(texts)).to(device)
        return cls(own, known, gather(own), gather(known))

    def rows(self, rows: Any) -> PairKeys:
        """Keep some of this rank's rows; all ranks' keys stay."""
        return PairKeys(self.texts[rows], self.objects[rows], self.all_texts, self.all_objects)

    @property
    def object_to_text(self) -> tuple[Tensor, Tensor]:
        """Keys that PTC's object-to-text direction compares: own objects, all texts."""
        return self.objects, self.all_texts

    @property
    def text_to_object(self) -> tuple[Tensor, Tensor]:
        """Keys that PTC's text-to-object direction compares: own texts, all objects."""
        return self.texts, self.all_objects


def _row_keys(samples: Mapping[str, Any], texts: Sequence[str], rule: str) -> Tensor:
    """Return one key per row [B]: an object and a text with equal keys are a right pair."""
    if rule == "row":
        return pair_keys(len(texts), get_rank())
    if rule == "drawn":
        return text_keys(texts)
    if "image_id" not in samples:
        what = "the batch has no image_id"
        where, fix = "model.positives", "give the field in the data set, or use another rule"
        raise ConfigError(what, where=where, got=sorted(samples), fix=fix)
    ids = samples["image_id"]
    names = ids.tolist() if isinstance(ids, Tensor) else ids
    # As hexadecimal digits: `text_keys` would take "A" and "a" for equal.
    return text_keys([str(name).encode().hex() for name in names])


def plain_words(texts: Sequence[str]) -> list[str]:
    """Reduce texts to lower-case words: text processors change case and punctuation."""
    return [" ".join(re.findall(r"\w+", str(text).lower())) for text in texts]


def described(samples: Mapping[str, Any]) -> list[str]:
    """Return the drawn texts, with the caption in place of each that is only the class name."""
    drawn = list(samples["text_input"])
    if "category" not in samples or "caption" not in samples:
        return drawn
    names, words = plain_words(samples["category"]), plain_words(drawn)
    rows = zip(drawn, samples["caption"], words, names, strict=True)
    return [caption if text == name else own for own, caption, text, name in rows]
