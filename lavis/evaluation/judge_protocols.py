"""Questions to a judge and parsing of its answers: PointLLM's three protocols, reworded.

    open_classification   do reference and answer name the same kind of object?   T#… or F#…
    close_classification  which of the listed classes does the answer describe?   index#class#…
    captioning            which share of the reference's aspects is in the caption?   0-100#…

The published wordings belong to PointLLM. These request the same and are versioned, because another
wording is another judge. An answer that cannot be read is counted; in close classification it then
is a seeded random class, as published, and the clean accuracy leaves it out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lavis.common.errors import EvaluationError
from lavis.evaluation.pointllm import Prediction

PROMPT_VERSION = "1"

_OPEN = """You compare two short texts about a 3D object. Decide whether both are about the same \
kind of thing. Only the kind of object matters: differences in color, size, form, material or \
style do not. Answer "T#" when it is the same kind and "F#" when it is not, \
followed by a reason of at most twenty words.

Text A: {reference}
Text B: {text}
Answer:"""

_CLOSE = """A system described a 3D object in free words. Choose the class that fits the \
description best from the numbered list. Guess when the description is vague; if it names several \
classes, choose one of them. Only if nothing at all can be concluded, answer "-1#NA#unclear". \
Answer in the form "number#class#reason" with a reason of at most ten words.

Classes:
{classes}

Description: {text}
Answer:"""

_CAPTION = """A person and a system each captioned the same 3D object. List for yourself the \
aspects that the person mentions (the object, its parts, colors, material, pose, use). What \
percentage of them does the system's caption also mention, each aspect counting the same and a \
similar notion counting partly? Answer with a whole number from 0 to 100, then "#" and a reason of \
at most fifteen words.

Person: {reference}
System: {text}
Answer:"""


@dataclass(frozen=True)
class Verdict:
    """A judge's answer, read.

    Attributes:
        score: 0..1.
        valid: whether the answer had the required form.
        choice: chosen class of close classification.
    """

    score: float
    valid: bool
    choice: int | None = None


@dataclass(frozen=True)
class Protocol:
    """A question and how its answer is read.

    Attributes:
        metric: name of the score, put behind the judge's name.
        ask: prediction -> text of the question.
        read: (prediction, answer) -> verdict.
    """

    metric: str
    ask: Callable[[Prediction], str]
    read: Callable[[Prediction, str], Verdict]


def protocol(name: str, classes: Sequence[str] = (), seed: int = 0) -> Protocol:
    """Return a protocol by name.

    Args:
        name: open_classification, close_classification or captioning.
        classes: the class list of close classification; its references are class names or indices.
        seed: of the random class for an unreadable answer.

    Raises:
        EvaluationError: unknown name, or close classification without classes.
    """
    if name == "captioning":
        return Protocol("caption_score", lambda p: _filled(_CAPTION, p), _read_score)
    if name == "open_classification":
        return Protocol("open_accuracy", lambda p: _filled(_OPEN, p), _read_truth)
    if name == "close_classification" and classes:
        listed = "\n".join(f"{number}: {text}" for number, text in enumerate(classes))
        return Protocol(
            "close_accuracy",
            lambda p: _CLOSE.format(classes=listed, text=p.text),
            lambda p, answer: _read_choice(p, answer, list(classes), seed),
        )
    raise EvaluationError(
        "no such judge protocol, or close classification without classes",
        got=name,
        expected="open_classification, captioning, or close_classification with --classes",
    )


def _filled(template: str, prediction: Prediction) -> str:
    return template.format(reference=prediction.reference, text=prediction.text)


def _read_truth(prediction: Prediction, answer: str) -> Verdict:
    letter = answer.strip()[:1].upper()
    return Verdict(float(letter == "T"), letter in ("T", "F"))


def _read_score(prediction: Prediction, answer: str) -> Verdict:
    found = re.match(r"[^\d-]{0,12}?(\d+(?:\.\d+)?)\s*(?:%|/100)?\s*(?:#|$)", answer.strip())
    value = float(found.group(1)) if found else -1.0
    return Verdict(value / 100, True) if 0 <= value <= 100 else Verdict(0.0, False)


def _read_choice(prediction: Prediction, answer: str, classes: list[str], seed: int) -> Verdict:
    right = right_class(prediction, classes)
    found = re.search(r"(-?\d+)\s*#\s*([^#]*)", answer)
    choice = int(found.group(1)) if found else -1
    valid = 0 <= choice < len(classes) and bool(found and found.group(2).strip() != "NA")
    if not valid:
        digest = hashlib.sha256(f"{seed}:{prediction.item_id}".encode()).digest()
        choice = int(np.random.default_rng(list(digest[:8])).integers(len(classes)))
    return Verdict(float(choice == right), valid, choice)


def right_class(prediction: Prediction, classes: Sequence[str]) -> int:
    """Index of an item's class: by `label_name`, by the reference as a name, or as an index.

    Raises:
        EvaluationError: none of the three.
    """
    for name in (prediction.label_name, prediction.reference):
        plain = (name or "").replace("_", " ").strip().lower()
        if plain in classes:
            return list(classes).index(plain)
    if prediction.reference.isdigit() and int(prediction.reference) < len(classes):
        return int(prediction.reference)
    raise EvaluationError(
        "an item's class is not in the list",
        where=f"item {prediction.item_id}",
        got=prediction.label_name or prediction.reference,
        expected=f"one of {list(classes)[:5]}, … or an index",
    )
