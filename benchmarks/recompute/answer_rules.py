"""Answer baselines from their definitions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from benchmarks.recompute.caption_rules import train_ids
from benchmarks.recompute.features import objects, rounded_footprint
from benchmarks.recompute.learners import TfIdf, forest_votes
from benchmarks.recompute.neighbours import orders
from benchmarks.recompute.runs import Data
from benchmarks.recompute.words import canonical_answer, caption_words

# fmt: off
FUNCTION_WORDS = frozenset({
    "a", "an", "any", "are", "as", "called", "describe", "do", "does", "has", "have", "in", "is",
    "it", "made", "object", "of", "on", "one", "part", "piece", "shape", "shaped", "teeth", "that",
    "the", "there", "this", "to", "toothed", "type", "was", "what", "which", "with", "would", "you",
})
# fmt: on
VOTE_WIDTH, FAR = 0.1, 10.0
Entry = Mapping[str, Any]
Entries = Sequence[Entry]
Answers = dict[str, str]


def answers(data: Data, questions: Mapping[str, Entry]) -> dict[str, Answers]:
    """Return {baseline: {question: answer}}; questions as they were put to the model."""
    train = data.annotation("qa", "train")
    ids = list(dict.fromkeys(str(entry["object_id"]) for entry in questions.values()))
    found = {
        "most_frequent_answer": most_frequent(train, questions),
        "blind_text_only": blind(train, questions),
    }
    for name, order in orders(data, ids, train_ids(train)).items():
        found[name] = from_neighbours(train, questions, ids, order)
    found["answer_forest"] = from_forests(data, train, questions, ids)
    found["rounded_box"] = rounded(data, questions, ids)
    found["forest_and_rounded_box"] = {
        i: answer or found["answer_forest"][i] for i, answer in found["rounded_box"].items()
    }
    return found


def first_answer(entry: Entry) -> str:
    """Return the canonical answer that training teaches."""
    return canonical_answer(str(entry["answer"]))


def commonest(found: Sequence[str]) -> str:
    """Return the most frequent answer; of equals the first in the alphabet."""
    counts = Counter(found)
    return min(counts, key=lambda answer: (-counts[answer], answer))


def gathered(
    train: Entries, key: Callable[[Entry], Any], value: Callable[[Entry], Any] = first_answer
) -> dict[Any, list[Any]]:
    """Return {key: values} of training questions."""
    groups: dict[Any, list[Any]] = defaultdict(list)
    for entry in train:
        groups[key(entry)].append(value(entry))
    return groups


def most_frequent(train: Entries, questions: Mapping[str, Entry]) -> Answers:
    """Answer with the most frequent training answer of the question's type."""
    by_type = gathered(train, lambda entry: entry["question_type"])
    frequent = {kind: commonest(found) for kind, found in by_type.items()}
    return {i: frequent.get(entry["question_type"], "") for i, entry in questions.items()}


def blind(train: Entries, questions: Mapping[str, Entry]) -> Answers:
    """Answer like the most similar training question, by tf-idf of words and pairs of words."""
    by_words = gathered(train, lambda entry: tuple(caption_words(entry["question"])))
    known = sorted(by_words)
    index = TfIdf([" ".join(words) for words in known], longest=2, damped=False)
    best = [commonest(by_words[words]) for words in known]
    texts = list(dict.fromkeys(str(entry["question"]) for entry in questions.values()))
    cosines = (index(texts) @ index([" ".join(w) for w in known]).T).toarray().round(12)
    given = {}
    for text, row in zip(texts, cosines):
        words = tuple(caption_words(text))
        near = best[int(row.argmax())] if row.max() > 0 else ""
        given[text] = commonest(by_words[words]) if words in by_words else near
    return {i: given[str(entry["question"])] for i, entry in questions.items()}


def yes_no_types(train: Entries) -> set[str]:
    """Return the question types that are answered by yes or no."""
    by_type = gathered(train, lambda entry: str(entry["question_type"]))
    return {kind for kind, found in by_type.items() if set(found) <= {"yes", "no"}}


def phrase(entry: Entry) -> tuple[str, ...]:
    """Return the words that a question names."""
    return tuple(w for w in caption_words(entry["question"]) if w not in FUNCTION_WORDS)


def from_neighbours(
    train: Entries, questions: Mapping[str, Entry], ids: Sequence[str], order: np.ndarray
) -> Answers:
    """Answer like the nearest training object that was asked the same: type, words if yes/no."""
    yes_no = yes_no_types(train)

    def signature(entry: Entry) -> tuple[str, ...]:
        kind = str(entry["question_type"])
        return (kind, *phrase(entry)) if kind in yes_no else (kind,)

    known: dict[tuple[str, ...], Answers] = defaultdict(dict)
    for entry in train:
        for key in {signature(entry), signature(entry)[:1]}:
            known[key].setdefault(str(entry["object_id"]), first_answer(entry))
    names = train_ids(train)
    near = {i: [names[k] for k in row] for i, row in zip(ids, order)}
    given = {}
    for i, entry in questions.items():
        candidates = known.get(signature(entry)) or known.get(signature(entry)[:1], {})
        first = next((o for o in near[str(entry["object_id"])] if o in candidates), None)
        given[i] = candidates[first] if first is not None else ""
    return given


def from_forests(
    data: Data, train: Entries, questions: Mapping[str, Entry], ids: Sequence[str]
) -> Answers:
    """Answer by extra trees of the question's type, on features or on votes about the word."""
    yes_no, given = yes_no_types(train), dict.fromkeys(questions, "")
    for kind in sorted({str(entry["question_type"]) for entry in questions.values()}):
        known = [entry for entry in train if entry["question_type"] == kind]
        asked = {i: entry for i, entry in questions.items() if entry["question_type"] == kind}
        if not known:
            continue
        rows = [own_columns(data, part) for part in (known, [*asked.values()])]
        if kind in yes_no and any(phrase(entry) for entry in known):
            rows = [vote_columns(data, known, part) for part in (known, [*asked.values()])]
        labels = [first_answer(entry) for entry in known]
        names, votes = forest_votes(data, "extra", rows[0], labels, rows[1])
        given |= {i: names[k] for i, k in zip(asked, votes.argmax(axis=1))}
    return given


def own_columns(data: Data, entries: Entries) -> np.ndarray:
    """Return the forest columns of the objects of some questions, float32 [m,267]."""
    ids = train_ids(entries)
    table = dict(zip(ids, objects(data, ids).forest_columns(with_colors=True)))
    return np.stack([table[str(entry["object_id"])] for entry in entries])


def vote_columns(data: Data, known: Entries, entries: Entries) -> np.ndarray:
    """Return statistics of the training answers on each question's word, float32 [m,8].

    Four columns for the whole phrase and four for its last word without a plural s.
    """
    spaces = [near_space(data, part) for part in (known, entries)]
    owner = np.array([str(entry["object_id"]) for entry in known])
    yes = np.array([first_answer(entry) == "yes" for entry in known])
    voters = [gathered_rows(known, level) for level in (0, 1)]
    result = np.empty((len(entries), 8), dtype=np.float32)
    for row, entry in enumerate(entries):
        for level in (0, 1):
            rows = np.array(voters[level].get(phrase_key(entry, level), []), dtype=int)
            rows = rows[owner[rows] != str(entry["object_id"])]
            columns = slice(4 * level, 4 * level + 4)
            result[row, columns] = votes(spaces[1][row], spaces[0][rows], yes[rows])
    return result


def near_space(data: Data, entries: Entries) -> np.ndarray:
    """Return the histogram-and-box rows of the objects of some questions, [m,219]."""
    ids = train_ids(entries)
    table = dict(zip(ids, objects(data, ids).near_space))
    return np.stack([table[str(entry["object_id"])] for entry in entries])


def phrase_key(entry: Entry, level: int) -> str:
    """Return the whole phrase (level 0), or its last word without a plural s (level 1)."""
    words = phrase(entry)
    return " ".join(words) if level == 0 else (words[-1].rstrip("s") if words else "")


def gathered_rows(known: Entries, level: int) -> dict[str, list[int]]:
    """Return {key: rows of training questions}."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, entry in enumerate(known):
        rows[phrase_key(entry, level)].append(row)
    return rows


def votes(own: np.ndarray, others: np.ndarray, yes: np.ndarray) -> list[float]:
    """Return smoothed share of yes, share weighted by closeness, nearest yes, nearest no."""
    if not len(others):
        return [0.5, 0.5, FAR, FAR]
    squares = cdist(own[None].astype(np.float64), others.astype(np.float64), "sqeuclidean")[0]
    squares = squares.round(9)
    weights = np.exp(-squares / VOTE_WIDTH) + 1e-6
    return [
        (int(yes.sum()) + 1) / (len(yes) + 2),
        float(weights[yes].sum() / weights.sum()),
        float(squares[yes].min()) if yes.any() else FAR,
        float(squares[~yes].min()) if not yes.all() else FAR,
    ]


def rounded(data: Data, questions: Mapping[str, Entry], ids: Sequence[str]) -> Answers:
    """Answer questions about sizes by the box rounded to whole studs, others by nothing."""
    sides = {i: rounded_footprint(box) for i, box in zip(ids, objects(data, ids).boxes)}
    rules: dict[str, Callable[[tuple[int, int]], str]] = {
        "stud_dimensions": lambda both: f"{both[0]} x {both[1]}",
        "longer_side": lambda both: str(both[1]),
    }
    return {
        i: rules.get(str(entry["question_type"]), lambda both: "")(sides[str(entry["object_id"])])
        for i, entry in questions.items()
    }
