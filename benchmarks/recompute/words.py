"""Words of captions and normalisation of answers, re-implemented from the package's documentation.

The package uses regular expressions; this file reads texts character by character, so that an
error in one of them does not hide in the other.
"""

from __future__ import annotations

import unicodedata

APOSTROPHES = "‘’ʼ`"
CONTRACTIONS = ("s", "re", "ve", "ll", "d", "m")
SYMBOLS = "%&$€£+=@#°×"
ARTICLES = ("a", "an", "the")
# fmt: off
UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "hundred")
# fmt: on
NUMBER_WORDS = {word: str(value) for value, word in enumerate(UNITS)}
NUMBER_WORDS |= {word: str(10 * value) for value, word in enumerate(TENS, start=2)}


def is_word(character: str) -> bool:
    """Return whether a character belongs to a word: a letter, a digit or "_"."""
    return character.isalnum() or character == "_"


def run_end(text: str, start: int) -> int:
    """Return the end of the run of word characters that begins at `start`."""
    while start < len(text) and is_word(text[start]):
        start += 1
    return start


def digits_end(text: str, start: int) -> int:
    """Return the end of the run of digits that begins at `start`."""
    while start < len(text) and text[start].isdecimal():
        start += 1
    return start


def at_boundary(text: str, place: int) -> bool:
    """Return whether `place` is a word boundary."""
    return place >= len(text) or not is_word(text[place])


def caption_words(text: str) -> list[str]:
    """Split a caption as the documented tokenizer `simple-ptb` does.

    Lower case; "isn't" is two words, "it's" too; numbers with inner points, commas or slashes are
    one word, as are words joined by "-" or "+"; punctuation is dropped, some symbols stay.
    """
    plain = unicodedata.normalize("NFKC", text)
    for apostrophe in APOSTROPHES:
        plain = plain.replace(apostrophe, "'")
    plain, words, place = plain.lower(), [], 0
    while place < len(plain):
        end = token_end(plain, place)
        if end > place:
            words.append(plain[place:end])
        place = max(end, place + 1)
    return words


def token_end(text: str, start: int) -> int:
    """Return the end of the word that begins at `start`; `start` itself where none begins."""
    for rule in (number_end, stem_end, not_end, contraction_end, joined_end):
        end = rule(text, start)
        if end > start:
            return end
    return start + (text[start] in SYMBOLS)


def number_end(text: str, start: int) -> int:
    """Read "1.5", "1,000" or "1/2" with letters behind it."""
    end, parts = digits_end(text, start), 0
    while end > start and end + 1 < len(text) and text[end] in ".,/" and text[end + 1].isdecimal():
        end, parts = digits_end(text, end + 1), parts + 1
    return run_end(text, end) if parts else start


def stem_end(text: str, start: int) -> int:
    """Read "is" of "isn't"."""
    stem = run_end(text, start) - 1
    return stem if stem > start and not_end(text, stem) > stem else start


def not_end(text: str, start: int) -> int:
    """Read "n't"."""
    return start + 3 if text[start : start + 3] == "n't" and at_boundary(text, start + 3) else start


def contraction_end(text: str, start: int) -> int:
    """Read "'s" of "it's"."""
    for ending in CONTRACTIONS if text[start] == "'" else ():
        end = start + 1 + len(ending)
        if text[start + 1 : end] == ending and at_boundary(text, end):
            return end
    return start


def joined_end(text: str, start: int) -> int:
    """Read a word, or words joined by "-" or "+"."""
    end = run_end(text, start)
    while start < end < len(text) - 1 and text[end] in "-+" and is_word(text[end + 1]):
        end = run_end(text, end + 1)
    return end


def canonical_answer(text: str) -> str:
    """Spell an answer as the package's own rule documents it.

    Lower case, no punctuation, number words up to twenty and whole tens as digits, no articles
    (unless nothing else is left), dimensions as "2 x 4".
    """
    plain = unicodedata.normalize("NFKC", text).lower().replace("×", "x").replace("-", " ")
    plain = "".join(replacement(plain, place) for place in range(len(plain)))
    words = [NUMBER_WORDS.get(word, word) for word in plain.split()]
    words = [word for word in words if word not in ARTICLES] or words
    return with_dimensions(" ".join(words))


def replacement(text: str, place: int) -> str:
    """Return what becomes of one character: itself, a space, or nothing."""
    character = text[place]
    before, after = text[place - 1 : place], text[place + 1 : place + 2]
    if character in "'’" and before and after and is_word(before) and is_word(after):
        return ""
    if character == "," and before.isdecimal() and is_thousand(text, place + 1):
        return ""
    if character in "./":
        return character if before.isdecimal() and after.isdecimal() else " "
    return character if character.isalnum() or character.isspace() else " "


def is_thousand(text: str, start: int) -> bool:
    """Return whether exactly three digits follow, and then no word character."""
    group = text[start : start + 3]
    return len(group) == 3 and group.isdecimal() and at_boundary(text, start + 3)


def with_dimensions(text: str) -> str:
    """Spell "2x4" and "2 by 4" as "2 x 4"."""
    result, place = "", 0
    while place < len(text):
        end = times_end(text, place) if result[-1:].isdecimal() else place
        result, place = (result + " x ", end) if end > place else (result + text[place], place + 1)
    return result


def times_end(text: str, start: int) -> int:
    """Return the end of "x" or "by" between numbers; `start` where there is none."""
    place = start + (text[start : start + 1] == " ")
    for sign in ("x", "by"):
        end = place + len(sign)
        if text[place:end] == sign:
            end += text[end : end + 1] == " "
            return end if text[end : end + 1].isdecimal() else start
    return start


def cleaned(text: str, removed: str = " ", max_words: int = 50) -> str:
    """Clean a text as BLIP's processors do; questions pass `removed=""`.

    Lower case, no punctuation but a decimal point, single spaces, the first words.
    """
    lower = text.lower()
    kept = []
    for place, character in enumerate(lower):
        inside = lower[place - 1 : place].isdecimal() and lower[place + 1 : place + 2].isdecimal()
        drop = character in '!"()*#:;~' or (character == "." and not inside)
        kept.append(removed if drop else character)
    return " ".join("".join(kept).split()[:max_words])
