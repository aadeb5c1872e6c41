"""Question-answer pairs whose answers follow from a description (or the synthetic colour).

Families: category, stud_dimensions, handedness, shape (yes/no), gear_teeth, feature (yes/no) and
color. Questions on stud dimensions need a box of the cloud that agrees with the description:
names such as "Duplo Brick 2 x 4" count other studs. Sides may be answered in either order.
Yes/no pairs are balanced question by question: for every question about an object for which
the answer is yes, the same question is added for a similar object for which it is no. A model that
reads only the question is right half of the time.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lavis.datasets.download_scripts.bricks_classes import SEEN
from lavis.datasets.download_scripts.bricks_text import COLOR_WORD, stable_hash

PHRASINGS: dict[str, tuple[str, ...]] = {
    "category": (
        "what kind of part is this?",
        "which category does this object belong to?",
        "what type of piece is shown?",
        "how is this part classified?",
    ),
    "color": (
        "what color is the object?",
        "which color does this part have?",
        "what is the color of this piece?",
        "in which color is this part made?",
    ),
    "stud_dimensions": (
        "what are its stud dimensions?",
        "what is the size of this part in studs?",
        "how many studs by how many studs is it?",
        "what is its footprint in studs?",
    ),
    "longer_side": (
        "how many studs long is its longer side?",
        "how long is this part in studs?",
        "what is the length of its longer side in studs?",
    ),
    "handedness": (
        "is this the left or the right version?",
        "is this part left-handed or right-handed?",
        "which side is this part made for, left or right?",
    ),
    "shape": (
        "is this part {word}?",
        "is it a {word} piece?",
        "would you describe this object as {word}?",
    ),
    "teeth_count": (
        "how many teeth does it have?",
        "what is the number of teeth on this part?",
        "how many teeth can be counted on this piece?",
    ),
    "has_teeth": (
        "does this part have teeth?",
        "is this a toothed piece?",
        "are there teeth on this object?",
    ),
    "feature": (
        "does this part come with {word}?",
        "is this piece made with {word}?",
        "does the object have {word}?",
    ),
}

# Words that leave open whether a description without "round" is round anyway: such objects are
# never asked as the "no" half of a pair.
_SHAPE_WORDS = {
    "round": r"round|circular|cylind|ring|disc|dish|wheel|tyre|ball|spher|dome|cone|conical|"
    r"curv|arch|bow|barrel|tube|elliptic|semi|axle|pin|turntable|octagon|bar|hose|umbrella",
    "curved": r"curv|round|arch|bow|bent|dome|cylind|circular|wave|convex|concave|spher|ring|"
    r"dish|cone|bubble|semi|hose|formed|twist|tapered",
    "inverted": r"invert|upside|negative|underside",
}
_FOOTPRINT = re.compile(r"(?<![\w./])(\d+) x (\d+)(?: x \d+(?:\.\d+)?)?(?![\w./])")
# Sizes of these are millimetres or LDraw units, not studs.
_NOT_IN_STUDS = re.compile(r"\b(wheel|tyre|hose|string|sheet|propeller|cardboard|track)\b", re.I)
_TEETH_WORD = r"tooth|teeth|gear|sprocket|\brack\b|\bsaw\b"
_TEETH_COUNT = re.compile(r"(?<![\w./])(\d+) (?:large )?(?:tooth|teeth)\b", re.IGNORECASE)
_SEPARATOR = re.compile(r"\s*(?:,|/|&|\band\b|\bwithout\b|\bwith\b)\s*")
_FEATURE = re.compile(r"^(?:\d+ )?[a-z][a-z-]*(?: [a-z][a-z-]*){0,2}$")
_VAGUE = re.compile(r"\b(type|complete|neck|no|body|end|ends|hands?|arms?|side|sides)$")

# Studs by which a described side may differ from the box: walls are thinner than the grid.
SIZE_TOLERANCE = 0.6

Record = Mapping[str, str]
Pair = dict[str, Any]
Boxes = Mapping[str, Sequence[float]]


def build_qa(records: Sequence[Record], boxes: Boxes) -> list[Pair]:
    """Return the pairs of one split, ordered by object then question.

    Args:
        records: each with object_id, description, category, color. All of one split: partners of
            yes/no questions are drawn from the same split.
        boxes: {object_id: edges along x, y (up), z in studs}.
    """
    ordered = sorted(records, key=lambda record: stable_hash("qa:" + record["object_id"]))
    pairs = [*_open_questions(ordered, boxes), *_handedness(ordered)]
    for word, ambiguous in _SHAPE_WORDS.items():
        # Before "with": in "tile 2 x 2 with curved cutouts" the tile is not curved.
        positive = rf"^(?:(?!\bwith).)*\b{word}\b"
        pairs += _yes_no(ordered, "shape", "shape", word, positive, ambiguous)
    pairs += _teeth(ordered)
    pairs += _features(ordered)
    rank = {record["object_id"]: place for place, record in enumerate(records)}
    return sorted(pairs, key=lambda pair: (rank[pair["object_id"]], pair["question_id"]))


def qa_statistics(pairs: Sequence[Pair]) -> dict[str, dict[str, Any]]:
    """Return per question type: pairs, distinct answers, most frequent answer and its share."""
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for pair in pairs:
        answers[f"{pair['family']}/{pair['question_type']}"][pair["answer"]] += 1
    return {
        name: {
            "pairs": counts.total(),
            "distinct_answers": len(counts),
            "most_frequent": counts.most_common(1)[0][0],
            "share": round(counts.most_common(1)[0][1] / counts.total(), 4),
        }
        for name, counts in sorted(answers.items())
    }


def _pair(record: Record, family: str, question_type: str, answer: str, word: str = "") -> Pair:
    key = f"{record['object_id']}:{question_type}" + (f":{word.replace(' ', '_')}" if word else "")
    phrasings = PHRASINGS[question_type]
    question = phrasings[stable_hash("phrase:" + key) % len(phrasings)].format(word=word)
    return {
        "question_id": key,
        "object_id": record["object_id"],
        "question": question,
        "answer": answer,
        "family": family,
        "question_type": question_type,
    }


def _open_questions(records: Sequence[Record], boxes: Boxes) -> Iterator[Pair]:
    for record in records:
        if record["category"] in SEEN:
            yield _pair(record, "category", "category", record["category"])
        yield _pair(record, "color", "color", record["color"])
        size = footprint(record["description"])
        if size is not None and fits_box(size, boxes[record["object_id"]]):
            short, long = sorted(size)
            sides = _pair(record, "stud_dimensions", "stud_dimensions", f"{short} x {long}")
            yield {**sides, "answers": list(dict.fromkeys([sides["answer"], f"{long} x {short}"]))}
            yield _pair(record, "stud_dimensions", "longer_side", str(long))


def fits_box(size: tuple[int, int], box: Sequence[float]) -> bool:
    """Return whether both sides are within `SIZE_TOLERANCE` of the box (x, y up, z) in studs."""
    sides = zip(sorted(size), sorted((box[0], box[2])), strict=True)
    return all(abs(said - edge) <= SIZE_TOLERANCE for said, edge in sides)


def footprint(description: str) -> tuple[int, int] | None:
    """Return (a, b) of the only "a x b" (or "a x b x height") in studs, None when there is none."""
    if _NOT_IN_STUDS.search(description):
        return None
    head = re.split(r"\bwith(?:out)?\b", description, maxsplit=1)[0]
    found = _FOOTPRINT.findall(head)
    return (int(found[0][0]), int(found[0][1])) if len(found) == 1 else None


def handedness(description: str) -> str | None:
    """Return "left" or "right" when exactly one of the words is in the description."""
    words = set(re.findall(r"\b(left|right)\b", description.lower()))
    return words.pop() if len(words) == 1 and "right angle" not in description.lower() else None


def _handedness(records: Sequence[Record]) -> list[Pair]:
    sides: dict[str, list[Pair]] = {"left": [], "right": []}
    for record in records:
        side = handedness(record["description"])
        if side is not None:
            sides[side].append(_pair(record, "handedness", "handedness", side))
    count = min(map(len, sides.values()))
    return sides["left"][:count] + sides["right"][:count]


def _yes_no(
    records: Sequence[Record],
    family: str,
    question_type: str,
    word: str,
    positive: str,
    ambiguous: str,
) -> list[Pair]:
    """Pair each "yes" object with an unused "no" object of the same category.

    Args:
        records: objects in the order in which partners are taken.
        family, question_type, word: as in the pairs.
        positive: pattern of a description for which the answer is yes.
        ambiguous: pattern of a description that cannot serve as a "no".
    """
    is_yes, is_open = re.compile(positive, re.I), re.compile(ambiguous, re.I)
    partners: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if not is_open.search(record["description"]) and not is_yes.search(record["description"]):
            partners[record["category"]].append(record)
    pairs = []
    for record in records:
        waiting = partners[record["category"]]
        if is_yes.search(record["description"]) and waiting:
            pairs.append(_pair(record, family, question_type, "yes", word))
            pairs.append(_pair(waiting.pop(), family, question_type, "no", word))
    return pairs


def _teeth(records: Sequence[Record]) -> list[Pair]:
    pairs = []
    for record in records:
        own = re.split(r"\bfor\b", record["description"], maxsplit=1)[0]
        counts = set(_TEETH_COUNT.findall(own))
        if len(counts) == 1:
            pairs.append(_pair(record, "gear_teeth", "teeth_count", counts.pop()))
    # Not behind "for": a tyre for a gear has no teeth itself.
    has_teeth = r"^(?:(?!\bfor\b).)*\b(tooth|teeth|toothed)\b"
    return pairs + _yes_no(records, "gear_teeth", "has_teeth", "", has_teeth, _TEETH_WORD)


def features_of(description: str) -> list[str]:
    """Return the features behind "with": short noun phrases without colours or sizes."""
    text = re.sub(r"\([^)]*\)", " ", description.lower())
    if " with " not in text:
        return []
    found = []
    # A piece that follows "without" is a feature that the part lacks.
    for clause in re.findall(r"\bwith\s+(.*?)(?=\bwith(?:out)?\b|$)", text):
        for piece in _SEPARATOR.split(clause):
            phrase = piece.strip(" .#'\"-")
            plain = _FEATURE.match(phrase) and not _VAGUE.search(phrase)
            if plain and not COLOR_WORD.search(phrase) and phrase not in found:
                found.append(phrase)
    return found


def _features(records: Sequence[Record]) -> list[Pair]:
    """Ask of each feature one object that has it and one of its category that does not."""
    by_category: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_category[record["category"]].append(record)
    used: Counter[str] = Counter()
    asked: set[tuple[str, str]] = set()
    pairs = []
    for record in records:
        for feature in features_of(record["description"])[:2]:
            partner = _lacking(by_category[record["category"]], feature, used, asked)
            if partner is None:
                continue
            used[partner["object_id"]] += 1
            asked.add((partner["object_id"], feature))
            pairs.append(_pair(record, "feature", "feature", "yes", feature))
            pairs.append(_pair(partner, "feature", "feature", "no", feature))
    return pairs


def _lacking(
    candidates: Sequence[Record], feature: str, used: Counter[str], asked: set[tuple[str, str]]
) -> Record | None:
    """Return the least-used candidate whose description shares no noun with the feature."""
    nouns = [word.rstrip("s") for word in re.findall(r"[a-z]{3,}", feature)]
    start = stable_hash("partner:" + feature) % max(len(candidates), 1)
    best = None
    for record in [*candidates[start:], *candidates[:start]]:
        text = record["description"].lower()
        if (record["object_id"], feature) in asked or any(noun in text for noun in nouns):
            continue
        if best is None or used[record["object_id"]] < used[best["object_id"]]:
            best = record
            if used[record["object_id"]] == 0:
                break
    return best
