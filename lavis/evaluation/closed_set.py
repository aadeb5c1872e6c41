"""Match generated text to a closed set of class names, without a judge.

A class name in the text, as whole words, decides; of several the longest, then the first in the
text. Without a name: the class whose name is nearest to the text in a sentence embedding, or none
without an encoder. The rule is ours and is named in the results ("name_match", "embedding").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lavis.common.errors import EvaluationError

NO_CLASS = -1
Encoder = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Matches:
    """Classes found in texts.

    Attributes:
        predicted: [N] int64, `NO_CLASS` where nothing matched.
        by_name: [N] bool, whether the text contains a class name.
    """

    predicted: np.ndarray
    by_name: np.ndarray


def match_classes(
    texts: Sequence[str], class_names: Sequence[str], encode: Encoder | None = None
) -> Matches:
    """Find the class of each text.

    Args:
        texts: N generated descriptions.
        class_names: C distinct names.
        encode: texts -> unit embeddings [n,E], for texts that hold no name.

    Raises:
        EvaluationError: no classes, or the same name twice.
    """
    if not class_names or len(set(class_names)) != len(class_names):
        raise EvaluationError("class names are missing or repeated", got=list(class_names)[:5])
    patterns = [_pattern(name) for name in class_names]
    predicted = np.array([_named_class(text, patterns) for text in texts], dtype=np.int64)
    by_name = predicted != NO_CLASS
    rest = [k for k in np.flatnonzero(~by_name).tolist() if texts[k].strip()]
    if encode is not None and rest:
        similarity = encode([texts[k] for k in rest]) @ encode(list(class_names)).T  # [n,C]
        predicted[rest] = similarity.argmax(axis=1)
    return Matches(predicted, by_name)


def _pattern(name: str) -> re.Pattern[str]:
    words = [re.escape(word) for word in re.split(r"[\s_-]+", name.lower().strip()) if word]
    # "night stand" also matches "nightstand" and plurals.
    return re.compile(r"\b" + r"[\s_-]*".join(words) + r"(?:e?s)?\b")


def _named_class(text: str, patterns: Sequence[re.Pattern[str]]) -> int:
    found = [
        (-(match.end() - match.start()), match.start(), index)
        for index, pattern in enumerate(patterns)
        if (match := pattern.search(text.lower()))
    ]
    return min(found)[2] if found else NO_CLASS
