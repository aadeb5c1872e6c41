"""blip_caption and blip_question give LAVIS' bytes; the tidy ones keep decimal points."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lavis.common.registry import registry

from lavis.common.errors import ConfigError
from lavis.processors.blip_processors import (
    BlipCaptionProcessor,
    BlipQuestionProcessor,
    TidyCaptionProcessor,
    TidyQuestionProcessor,
)


def stock_function(name: str) -> Any:
    """Return a method of the installed LAVIS' text processors; its module needs torchvision."""
    package = Path(importlib.util.find_spec("lavis.common.registry").origin).parents[1]
    source = (package / "processors" / "blip_processors.py").read_text(encoding="utf-8")
    found = [node for node in ast.walk(ast.parse(source)) if getattr(node, "name", "") == name]
    assert len(found) == 1
    module = ast.Module(found, type_ignores=[])
    namespace: dict[str, Any] = {"re": re}
    exec(compile(module, "blip_processors.py", "exec"), namespace)
    return namespace[name]


STOCK_CAPTION, STOCK_QUESTION = stock_function("pre_caption"), stock_function("pre_question")
TEXTS = st.text(
    st.one_of(st.sampled_from(list(' \t\n\r\u00a0\u3000aB1?.!"()*#:;~-İ')), st.characters())
)
WORDS = st.integers(1, 6)


@given(text=TEXTS, max_words=WORDS)
@example(text="a\tred\nbrick", max_words=50)
@example(text="  spaces in front. And 1.667 behind \n", max_words=50)
@example(text="a\n b", max_words=2)
def test_blip_caption_equals_the_installed_one(text: str, max_words: int) -> None:
    expected = "of " + STOCK_CAPTION(SimpleNamespace(max_words=max_words), text)
    assert BlipCaptionProcessor("of ", max_words)(text) == expected


@given(text=TEXTS, max_words=WORDS)
@example(text="  what   color?  ", max_words=3)
@example(text="is it\t1.5 wide\n", max_words=50)
def test_blip_question_equals_the_installed_one(text: str, max_words: int) -> None:
    expected = STOCK_QUESTION(SimpleNamespace(max_words=max_words), text)
    assert BlipQuestionProcessor(max_words)(text) == expected


def test_published_text_keeps_white_space_and_loses_decimal_points() -> None:
    assert BlipCaptionProcessor()("A\tbrick of 1.667.\n") == "a\tbrick of 1 667"
    assert BlipCaptionProcessor()("a\nb") == "a\nb"
    assert BlipQuestionProcessor()("  What (is) 1.5 ?  ") == "  what is 15 ?"
    assert BlipQuestionProcessor(max_words=3)("a  b c") == "a  b"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("A Red Brick, 2 x 4.", "a red brick, 2 x 4"),
        ('a "big"   (round) plate!', "a big round plate"),
        ("cockpit 6 x 6 x 2.667 with t-bar", "cockpit 6 x 6 x 2.667 with t-bar"),
        ("a train 4.5v. new", "a train 4.5v new"),
        ("type #2: left~\n", "type 2 left"),
        (" a\tred\nbrick\u00a01 ", "a red brick 1"),
    ],
)
def test_tidy_captions_have_single_spaces_and_decimal_points(raw: str, clean: str) -> None:
    assert TidyCaptionProcessor()(raw) == clean


@pytest.mark.parametrize("name", ["blip_caption", "tidy_caption"])
def test_prompt_and_length(name: str) -> None:
    processor = registry.get_processor_class(name).from_config(
        {"name": name, "prompt": "a cloud of ", "max_words": 3}
    )
    assert processor("One two three four") == "a cloud of one two three"


def test_tidy_question_keeps_its_mark_and_joins() -> None:
    processor = TidyQuestionProcessor.from_config({"name": "tidy_question", "max_words": 4})
    assert processor("\t What color (of  it)?") == "what color of it?"
    assert processor("a b c d e") == "a b c d"


@pytest.mark.parametrize("name", ["blip_caption", "tidy_caption", "blip_question", "tidy_question"])
@pytest.mark.parametrize("options", [{"max_word": 3}, {"max_words": 0}, {"max_words": 2.5}])
def test_bad_options_are_refused_under_the_processors_name(name: str, options: dict) -> None:
    with pytest.raises(ConfigError, match=f"{name}[.\\s\\S]*max_words"):
        registry.get_processor_class(name).from_config(options)
