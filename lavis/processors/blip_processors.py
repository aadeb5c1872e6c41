"""Caption and question processors of BLIP: replaces the stock module, which imports torchvision.

Same names and behaviour, with one difference: a "." between two digits is a decimal point and stays
("1.667", "4.5v"); stock turns "1 x 1 x 1.667" into "1 x 1 x 1 667". Digits, "x" and "-" stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lavis.common.registry import registry
from lavis.processors.base_processor import BaseProcessor
from lavis.processors.options import read_options, require

_PUNCTUATION = re.compile(r"(?<!\d)\.|\.(?!\d)|[!\"()*#:;~]")
_SPACES = re.compile(r"\s+")


def clean_text(text: str, max_words: int, removed: str) -> str:
    """Lower the case, replace punctuation by `removed`, collapse spaces, keep `max_words` words."""
    words = _SPACES.sub(" ", _PUNCTUATION.sub(removed, text.lower())).strip().split(" ")
    return " ".join(words[:max_words])


@registry.register_processor("blip_caption")
class BlipCaptionProcessor(BaseProcessor):
    """Clean a caption and put the prompt in front.

    Args:
        prompt: text before every caption, with its own trailing space.
        max_words: words kept of the caption, without the prompt.
    """

    def __init__(self, prompt: str = "", max_words: int = 50) -> None:
        super().__init__()
        require(max_words > 0, "blip_caption.max_words", max_words, "at least 1")
        self.prompt, self.max_words = prompt, max_words

    def __call__(self, caption: str) -> str:
        return self.prompt + self.pre_caption(caption)

    def pre_caption(self, caption: str) -> str:
        """Return the cleaned caption; punctuation becomes a space."""
        return clean_text(caption, self.max_words, " ")

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any] | None = None) -> BlipCaptionProcessor:
        """Read prompt and max_words."""
        return cls(**read_options(cfg, {"prompt": "", "max_words": 50}, "blip_caption"))


@registry.register_processor("blip_question")
class BlipQuestionProcessor(BaseProcessor):
    """Clean a question; punctuation is removed, "?" stays.

    Args:
        max_words: words kept.
    """

    def __init__(self, max_words: int = 50) -> None:
        super().__init__()
        require(max_words > 0, "blip_question.max_words", max_words, "at least 1")
        self.max_words = max_words

    def __call__(self, question: str) -> str:
        return self.pre_question(question)

    def pre_question(self, question: str) -> str:
        """Return the cleaned question."""
        return clean_text(question, self.max_words, "")

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any] | None = None) -> BlipQuestionProcessor:
        """Read max_words."""
        return cls(**read_options(cfg, {"max_words": 50}, "blip_question"))
