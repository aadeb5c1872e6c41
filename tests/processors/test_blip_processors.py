"""Caption and question processors behave as BLIP's, and keep decimal points."""

from __future__ import annotations

import pytest

from lavis.common.errors import ConfigError
from lavis.processors.blip_processors import BlipCaptionProcessor, BlipQuestionProcessor


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("A Red Brick, 2 x 4.", "a red brick, 2 x 4"),
        ('a "big"   (round) plate!', "a big round plate"),
        ("cockpit 6 x 6 x 2.667 with t-bar", "cockpit 6 x 6 x 2.667 with t-bar"),
        ("a train 4.5v. new", "a train 4.5v new"),
        ("type #2: left~\n", "type 2 left"),
    ],
)
def test_captions_are_cleaned(raw: str, clean: str) -> None:
    assert BlipCaptionProcessor()(raw) == clean


def test_prompt_and_length() -> None:
    processor = BlipCaptionProcessor.from_config({"prompt": "a cloud of ", "max_words": 3})
    assert processor("One two three four") == "a cloud of one two three"


def test_question_keeps_its_mark_and_joins() -> None:
    processor = BlipQuestionProcessor.from_config({"name": "blip_question", "max_words": 4})
    assert processor("What color (of it)?") == "what color of it?"
    assert processor("a b c d e") == "a b c d"


@pytest.mark.parametrize("options", [{"max_word": 3}, {"max_words": 0}, {"max_words": 2.5}])
def test_bad_options_are_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match="max_words"):
        BlipCaptionProcessor.from_config(options)
