"""Published answer normalisations: expected values were read off the official scripts."""

import pytest

from lavis.common.errors import ConfigError
from lavis.evaluation.answer_styles import answer_style, leo_answer, scanqa_answer


@pytest.mark.parametrize(
    ("text", "scanqa", "leo"),
    [
        ("The 2,000 chairs - two-seater", "2000 chairs twoseater", "two,000 chairs - two-seater"),
        ("dont go. left/right", "don't go left right", "dont go leftright"),
        ("none", "0", "zero"),
        (
            "let  the TV's mat2, 3 o' clock",
            "let tv's mat2 3 o' clock",
            "left TV's mat, three o'clock",
        ),
        ("a.b. 1.5 end.", "ab 1.5 end", "ab fifteen end"),
        ("An oclock ’ ten", "o'clock ’ 10", "o'clock  ten"),
        ("couldnt've", "couldn't've", "couldnt've"),
        ("red  \n", "red", "red\n"),
        ("red \n ", "red", "red \n"),
    ],
)
def test_styles_equal_the_official_scripts(text, scanqa, leo):
    assert scanqa_answer(text) == scanqa
    assert leo_answer(text) == leo


def test_only_the_first_32_periods_go():
    assert scanqa_answer("." * 40 + "x") == "." * 8 + "x"


def test_unknown_style_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="scanqa"):
        answer_style("scan_qa")
