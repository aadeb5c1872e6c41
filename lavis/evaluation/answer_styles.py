"""Published normalisations of answers, each under its own name, quirks included.

    scanqa  `prep_ans` of ScanQA [arXiv 2112.10482], which is VQA's: digits for number words up to
            ten, no articles, contractions with their apostrophe, punctuation out. Its call of
            `re.sub` passes a flag as the count, so at most 32 periods are removed; kept.
    leo     `clean_answer` of LEO [arXiv 2311.12871], used by LLaVA-3D and Chat-Scene: words for
            digits, a table of typing errors ("let" becomes "left"), articles before a word out.
            Characters outside ASCII are removed before its own repairs of them apply; kept.
    ours    `qa.normalize_answer`, the default.

A score is comparable only with scores of the same style, so metric names contain the style.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from lavis.common.errors import ConfigError, nearest

_PERIODS_DROPPED = 32
_SCANQA_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_SCANQA_PERIOD = re.compile(r"(?!<=\d)(\.)(?!\d)")
_DIGIT_COMMA_DIGIT = re.compile(r"\d,\d")
_SMALL_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SCANQA_NUMBERS = {word: str(value) for value, word in enumerate((*_SMALL_NUMBERS, "ten"))}
_SCANQA_NUMBERS["none"] = "0"
_ARTICLES = ("a", "an", "the")
# fmt: off
# Right spellings; a word that lacks exactly one of their apostrophes is repaired.
_CONTRACTIONS = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't "
    "haven't he'd he'd've he's how'd how'll how's I'd've I'm I've isn't it'd it'd've it'll ma'am "
    "mightn't mightn't've might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't "
    "she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd "
    "someone'd've someone'll someone's something'd something'd've something'll that's there'd "
    "there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've "
    "we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've "
    "who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll "
    "y'all'd've you'd you'd've you'll you're you've"
)
_LEO_TYPING_ERRORS = {
    "letf": "left", "let": "left", "tehre": "there", "rigth": "right",
    "rght": "right", "behine": "behind", "tv": "TV", "chai": "chair", "wasing": "washing",
    "waslked": "walked", "oclock": "o'clock",
}
# fmt: on
_LEO_NUMBERS = dict(
    zip(
        map(str, range(21)),
        (
            *_SMALL_NUMBERS,
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
            "twenty",
        ),
    )
) | {"none": "zero", "23": "twenty-three"}  # fmt: skip


def _without_one_apostrophe(words: list[str]) -> dict[str, str]:
    repairs = {"somebody'd": "somebodyd"}  # the table's own slip
    for word in words:
        for place, letter in enumerate(word):
            if letter == "'":
                repairs[word[:place] + word[place + 1 :]] = word
    return repairs


_REPAIRS = _without_one_apostrophe(_CONTRACTIONS.split())


def scanqa_answer(text: str) -> str:
    """Normalise as ScanQA's `prep_ans`."""
    plain = text
    joined = _DIGIT_COMMA_DIGIT.search(text) is not None
    for mark in _SCANQA_PUNCTUATION:
        beside_space = f"{mark} " in text or f" {mark}" in text
        plain = plain.replace(mark, "" if beside_space or joined else " ")
    plain = _SCANQA_PERIOD.sub("", plain, count=_PERIODS_DROPPED)
    words = [_SCANQA_NUMBERS.get(word, word) for word in plain.lower().split()]
    return " ".join(_REPAIRS.get(word, word) for word in words if word not in _ARTICLES)


def leo_answer(text: str) -> str:
    """Normalise as LEO's `clean_answer`."""
    # `$` matches before a last line break, too, so spaces in front of it go.
    plain = re.sub(" {2,}", " ", re.sub(" +$", "", text.lower()).lstrip(" "))
    plain = re.sub(r"\.[ ]{2,}", ". ", plain)
    plain = re.sub(r"[^a-zA-Z0-9,'\s\-:]+", "", plain)
    for wrong, right in _LEO_TYPING_ERRORS.items():
        plain = re.sub(rf"\b{wrong}\b", right, plain)
    plain = re.sub(r"\bo'[ ]+clock\b", "o'clock", plain)
    for number, word in _LEO_NUMBERS.items():
        plain = re.sub(rf"\b{number}\b", word, plain)
    plain = re.sub(r"\b([a-zA-Z]+)[0-9]\b", r"\1", plain)
    for article in _ARTICLES:
        plain = re.sub(rf"\b{article}\b ([a-zA-Z]+)", r"\1", plain)
    return re.sub(r"\bbackwards\b", "backward", plain)


STYLES: dict[str, Callable[[str], str]] = {"scanqa": scanqa_answer, "leo": leo_answer}


def answer_style(name: str) -> Callable[[str], str]:
    """Look up a normalisation.

    Raises:
        ConfigError: unknown name.
    """
    if name not in STYLES:
        raise ConfigError(
            f"unknown style of answers.{nearest(name, STYLES)}",
            where="run.answer_styles",
            got=name,
            expected=sorted(STYLES),
        )
    return STYLES[name]
