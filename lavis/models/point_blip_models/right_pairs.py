"""Which text is right for which object of a batch, beyond the pair that was drawn.

Training draws one of an object's texts. A class name ("brick") is then right for every object of
the class in the batch, and a description for every object that it is annotated to. Counting those
pairs as wrong teaches PTC and PTM that a brick does not match "brick". Two rules:

    drawn       a pair is right when its text equals the object's drawn text (BLIP-2 has one text)
    annotated   … or any text that the object is annotated with: caption, description, category
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, stack

from lavis.models.contrastive import gather
from lavis.models.contrastive.text_keys import text_keys

RULES = ("drawn", "annotated")
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
            samples: a batch; with rule `annotated` its fields of `TEXT_FIELDS` are read.
            texts: the B texts that the loss reads, e.g. `samples["text_input"]`.
            rule: one of `RULES`.
            device: where the keys are.
        """
        if rule == "drawn":
            own = text_keys(texts).to(device)
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
