"""Caption and question processors of BLIP: replaces the stock module, which imports torchvision.

`blip_caption` and `blip_question` give the bytes that LAVIS 1.0.2 gives: a lone tab or line break
stays, a question keeps its spaces in front, empty pieces count towards `max_words`, and every "."
goes ("1.667" becomes "1 667").

`tidy_caption` and `tidy_question` are ours: white space of any kind becomes one space, and a "."
between two digits is a decimal point and stays ("1.667", "4.5v"). Recipes of this project use them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lavis.common.registry import registry
from lavis.processors.base_processor import BaseProcessor
from lavis.processors.options import read_options, require

_MARKS = re.compile(r"[.!\"()*#:;~]")
_MARKS_BUT_DECIMAL_POINTS = re.compile(r"(?<!\d)\.|\.(?!\d)|[!\"()*#:;~]")
_SPACES = re.compile(r"\s+")
_SEVERAL_SPACES = re.compile(r"\s{2,}")


def first_words(text: str, max_words: int) -> str:
    """Keep `max_words` pieces between single spaces; an empty piece counts as one."""
    return " ".join(text.split(" ")[:max_words])


def clean_text(text: str, max_words: int, removed: str) -> str:
    """Lower the case, replace marks by `removed`, collapse white space, keep `max_words` words."""
    plain = _MARKS_BUT_DECIMAL_POINTS.sub(removed, text.lower())
    return first_words(_SPACES.sub(" ", plain).strip(), max_words)


@registry.register_processor("blip_caption")
class BlipCaptionProcessor(BaseProcessor):
    """Clean a caption as LAVIS does and put the prompt in front.

    Args:
        prompt: text before every caption, with its own trailing space.
        max_words: pieces kept of the caption, without the prompt.
    """

    name = "blip_caption"

    def __init__(self, prompt: str = "", max_words: int = 50) -> None:
        super().__init__()
        require(max_words > 0, f"{self.name}.max_words", max_words, "at least 1")
        self.prompt, self.max_words = prompt, max_words

    def __call__(self, caption: str) -> str:
        return self.prompt + self.pre_caption(caption)

    def pre_caption(self, caption: str) -> str:
        """Return the cleaned caption; a mark becomes a space."""
        plain = _SEVERAL_SPACES.sub(" ", _MARKS.sub(" ", caption.lower()))
        return first_words(plain.rstrip("\n").strip(" "), self.max_words)

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any] | None = None) -> BlipCaptionProcessor:
        """Read prompt and max_words."""
        return cls(**read_options(cfg, {"prompt": "", "max_words": 50}, cls.name))


@registry.register_processor("tidy_caption")
class TidyCaptionProcessor(BlipCaptionProcessor):
    """Clean a caption with one kind of space, and with decimal points (see `clean_text`)."""

    name = "tidy_caption"

    def pre_caption(self, caption: str) -> str:
        """Return the cleaned caption; a mark becomes a space."""
        return clean_text(caption, self.max_words, " ")


@registry.register_processor("blip_question")
class BlipQuestionProcessor(BaseProcessor):
    """Clean a question as LAVIS does; marks are removed, "?" stays.

    Args:
        max_words: pieces kept.
    """

    name = "blip_question"

    def __init__(self, max_words: int = 50) -> None:
        super().__init__()
        require(max_words > 0, f"{self.name}.max_words", max_words, "at least 1")
        self.max_words = max_words

    def __call__(self, question: str) -> str:
        return self.pre_question(question)

    def pre_question(self, question: str) -> str:
        """Return the cleaned question."""
        return first_words(_MARKS.sub("", question.lower()).rstrip(" "), self.max_words)

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any] | None = None) -> BlipQuestionProcessor:
        """Read max_words."""
        return cls(**read_options(cfg, {"max_words": 50}, cls.name))


@registry.register_processor("tidy_question")
class TidyQuestionProcessor(BlipQuestionProcessor):
    """Clean a question with one kind of space, and with decimal points (see `clean_text`)."""

    name = "tidy_question"

    def pre_question(self, question: str) -> str:
        """Return the cleaned question."""
        return clean_text(question, self.max_words, "")
