"""Answer baselines without the object, or with hand-made features of it only.

    most_frequent_answer    of the question's type (of its family where types are not annotated)
    blind_text_only         answer of the most similar training question (blind.py)
    nearest_box, nearest_histogram, nearest_chamfer
                            answer about the nearest training object with a question of this type
    answer_forest           extra trees per question type on box, histogram and mean colour
    rounded_box             sides of the box rounded to whole studs; "" for other questions; only
                            for data whose unit is the stud
    forest_and_rounded_box  the rounded box where it has an answer, else the forest

Yes/no questions of some types name a word ("does it have a clip?"). Their neighbours are objects
with a question on the same word, and the forest uses the training answers on the word
(word_votes.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lavis.datasets.footprints import UNIT, footprint, rounded_sides
from lavis.evaluation.baselines.blind import BlindAnswerer
from lavis.evaluation.baselines.forests import class_posterior
from lavis.evaluation.baselines.named_words import is_yes_no, named_words
from lavis.evaluation.baselines.pool import Pool
from lavis.evaluation.baselines.word_votes import word_votes
from lavis.evaluation.qa import most_frequent_answers, normalize_answer

Question = Mapping[str, Any]
Answers = dict[str, str]
Tables = tuple[np.ndarray, np.ndarray]
ROUNDING: dict[str, Callable[[np.ndarray], str]] = {
    "stud_dimensions": footprint,
    "longer_side": lambda box: str(rounded_sides(box)[1]),
}


def answer_baselines(pool: Pool, questions: Sequence[Question]) -> dict[str, Answers]:
    """Return {baseline: {question id: answer}} for the evaluated questions.

    Args:
        pool: its training records have `question`, `answer` and, for most baselines,
            `question_type` and `object_id`; evaluated objects include those of the questions.
        questions: records with `question_id`, `question`, `object_id`, `question_type`, `family`.
    """
    if not pool.train:
        return {}
    found = {"most_frequent_answer": frequent_answers(pool.train, questions)}
    if all("question" in entry for entry in pool.train):
        blind = BlindAnswerer(pool.train)
        found["blind_text_only"] = {str(q["question_id"]): blind(q["question"]) for q in questions}
    if not all(entry.get("question_type") for entry in [*pool.train, *questions]):
        return found
    found |= {name: neighbour_answers(pool, order, questions) for name, order in orders(pool)}
    if pool.tables is not None:
        found["answer_forest"] = forest_answers(pool, pool.tables, questions)
    if pool.unit == UNIT and pool.features is not None and pool.features.boxes is not None:
        box_of = dict(zip(pool.object_ids, pool.features.boxes, strict=True))
        rounded = rounded_answers(box_of, questions)
        found |= {"rounded_box": rounded} if any(rounded.values()) else {}
        if "answer_forest" in found and any(rounded.values()):
            forest = found["answer_forest"]
            found["forest_and_rounded_box"] = {i: rounded[i] or forest[i] for i in forest}
    return found


def orders(pool: Pool) -> list[tuple[str, np.ndarray]]:
    """Return the orders of training objects when all training questions name their object."""
    return list(pool.orders.items()) if all("object_id" in e for e in pool.train) else []


def frequent_answers(train: Sequence[Question], questions: Sequence[Question]) -> Answers:
    """Answer with the most frequent training answer of the question's type, or else family."""
    typed = all(entry.get("question_type") for entry in [*train, *questions])
    key = "question_type" if typed else "family"
    frequent = most_frequent_answers(({key: "", **e} for e in train), family_key=key)
    return {str(q["question_id"]): frequent.get(str(q.get(key, "")), "") for q in questions}


def row_numbers(ids: Sequence[str]) -> dict[str, int]:
    """Return {id: place}."""
    return {name: row for row, name in enumerate(ids)}


def first_answer(entry: Question) -> str:
    """Return the (first) answer of a training record, normalised."""
    answer = entry["answer"]
    return normalize_answer(str(answer if isinstance(answer, str) else answer[0]))


def signature(question: Question, yes_no: set[str]) -> tuple[str, ...]:
    """Return what a training question must share with a question: type, and words if yes/no."""
    kind = str(question["question_type"])
    return (kind, *named_words(question["question"])) if kind in yes_no else (kind,)


def neighbour_answers(pool: Pool, order: np.ndarray, questions: Sequence[Question]) -> Answers:
    """Return the answer of the nearest training object with the same question.

    Args:
        order: int32 [n,m], training objects from near to far of each evaluated object.
    """
    yes_no = is_yes_no(pool.train)
    row_of = row_numbers(pool.train_ids)
    asked: dict[tuple[str, ...], dict[int, str]] = defaultdict(dict)
    for entry in pool.train:
        answer, row = first_answer(entry), row_of[str(entry["object_id"])]
        asked[signature(entry, yes_no)].setdefault(row, answer)
        asked[(str(entry["question_type"]),)].setdefault(row, answer)
    place = np.argsort(order, axis=1)  # [n,m] rank of each training object
    own_row = row_numbers(pool.object_ids)
    answers = {}
    for question in questions:
        key = signature(question, yes_no)
        known = asked.get(key) or asked.get(key[:1], {})
        rows = list(known)
        ranks = place[own_row[str(question["object_id"])], rows]
        answers[str(question["question_id"])] = known[rows[int(ranks.argmin())]] if rows else ""
    return answers


def forest_answers(pool: Pool, tables: Tables, questions: Sequence[Question]) -> Answers:
    """Answer by one forest per question type; "" where training has no question of the type."""
    yes_no = is_yes_no(pool.train)
    answers = {str(q["question_id"]): "" for q in questions}
    for kind in sorted({str(q["question_type"]) for q in questions}):
        train = [e for e in pool.train if e["question_type"] == kind]
        asked = [q for q in questions if q["question_type"] == kind]
        if train:
            known, wanted = question_tables(pool, tables, train, asked, kind in yes_no)
            labels = [first_answer(entry) for entry in train]
            names, posterior = class_posterior("extra_trees", known, labels, wanted)
            best = [names[k] for k in posterior.argmax(axis=1)]
            answers |= {str(q["question_id"]): a for q, a in zip(asked, best, strict=True)}
    return answers


def question_tables(
    pool: Pool,
    tables: Tables,
    train: Sequence[Question],
    asked: Sequence[Question],
    with_words: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return features of training [m,F] and asked questions [n,F] of one type."""
    rows = [
        [row_of[str(q["object_id"])] for q in part]
        for part, row_of in (
            (train, row_numbers(pool.train_ids)),
            (asked, row_numbers(pool.object_ids)),
        )
    ]
    words = [[named_words(q["question"]) for q in part] for part in (train, asked)]
    if not with_words or not any(words[0]) or pool.joint_spaces is None:
        return tables[0][rows[0]], tables[1][rows[1]]
    yes = np.array([first_answer(entry) == "yes" for entry in train])
    owners = [[str(q["object_id"]) for q in part] for part in (train, asked)]
    known, wanted = (space[part] for space, part in zip(pool.joint_spaces, rows, strict=True))
    votes = word_votes((known, wanted), words, yes, owners)
    return votes[0], votes[1]


def rounded_answers(box_of: Mapping[str, np.ndarray], questions: Sequence[Question]) -> Answers:
    """Answer questions about sizes from the rounded box; "" for others."""
    return {
        str(q["question_id"]): rule(box_of[str(q["object_id"])]) if rule else ""
        for q in questions
        for rule in [ROUNDING.get(str(q["question_type"]))]
    }
