"""A small PTB-like caption tokenizer, so that scoring needs no Java.

It follows what pycocoevalcap does with the Stanford PTB tokenizer (lower-case, contractions split,
punctuation dropped), but it is not that tokenizer: PTB splits "3d" into "3 d" and keeps brackets as
"-lrb-". Scores are comparable only between runs with the same tokenizer, so its name is recorded.
"""

from __future__ import annotations

import re
import unicodedata

TOKENIZER_NAME = "simple-ptb"

_APOSTROPHES = str.maketrans({"‘": "'", "’": "'", "ʼ": "'", "`": "'"})
_TOKEN = re.compile(
    r"""
    \d+(?:[.,/]\d+)+\w*           # 1.5  1,000  1/2
    | \w+?(?=n't\b)               # is|n't
    | n't\b
    | '(?:s|re|ve|ll|d|m)\b       # it|'s
    | \w+(?:[-+]\w+)*             # words, also left-handed
    | [%&$€£+=@#°×]               # symbols that PTB keeps as words
    """,
    re.VERBOSE,
)


def tokenize_caption(text: str) -> list[str]:
    """Split a caption into lower-case words; punctuation, quotes and brackets are dropped.

    Args:
        text: any caption; Unicode is NFKC-normalised so that equal-looking captions are equal.

    Returns:
        The words, empty when the caption holds none.
    """
    plain = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES).lower()
    return _TOKEN.findall(plain)
