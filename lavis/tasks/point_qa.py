"""Question answering: exact match per family, with baselines that do not use the object.

Four ways to answer, by `run.qa_mode`: `generate` (the language model writes), `rank` (the
likeliest of the family's frequent training answers; also the Q-Former), `choice` (multiple choice:
the likeliest of a few; choices of the annotation, or drawn from the family's training answers),
`neighbours` (votes of the training questions about the nearest objects; neighbour_answers.py).

Baselines are those of evaluation/baselines/answers.py, from the full training split. A question may
have several right answers (`answers`). Families with few questions are pooled (`qa.MIN_FAMILY`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavis.common.errors import ConfigError
from lavis.common.registry import registry
from lavis.evaluation.baselines.answers import answer_baselines
from lavis.evaluation.baselines.pool import pool_of
from lavis.evaluation.qa import (
    RARE,
    QAScores,
    exact_match,
    most_frequent_answers,
    normalize_answer,
    qa_scores,
)
from lavis.evaluation.qa_protocols import multiple_choice_metrics, published_scores
from lavis.models.abilities import Answerer, AnswerScorer, JointEmbedder
from lavis.tasks.data_needs import DataNeeds, records_of
from lavis.tasks.neighbour_answers import NeighbourAnswers
from lavis.tasks.options import TaskOptions, task_option
from lavis.tasks.point_task import PointTask, Scores, by_id

Records = list[dict[str, Any]]
QA_MODES = ("generate", "rank", "choice", "neighbours")
NEEDED = {"generate": Answerer, "neighbours": JointEmbedder}  # other modes: AnswerScorer


@dataclass(frozen=True)
class QAOptions(TaskOptions):
    """Options of question answering."""

    qa_mode: str = task_option("generate", "how questions are answered", choices=QA_MODES)
    qa_candidates: int | None = task_option(
        None, "answers to rank (null: 32), choices to choose from (null: 4)", low=2
    )
    num_beams: int = task_option(1, "beams of the search; 1: greedy", low=1)
    max_len: int = task_option(12, "most tokens to generate", low=1)
    answer_styles: tuple[str, ...] = task_option((), "published protocols: scanqa, leo")
    object_temperature: float = task_option(0.05, "of the cosines of objects in votes", low=1e-3)
    question_temperature: float = task_option(0.07, "of the cosines of words in votes", low=1e-3)
    answer_own_size: bool = task_option(False, "votes on sizes give way to the rounded own box")
    java_metrics: bool = task_option(False, "METEOR and SPICE, where Java and their files are")

    @property
    def candidates(self) -> int:
        """Answers to rank, or choices to choose from."""
        return self.qa_candidates or (32 if self.qa_mode == "rank" else 4)


@registry.register_task("point_qa")
class PointQATask(PointTask):
    """Answer each question; result entries hold question, family, answer and prediction."""

    name = "point_qa"
    id_key = "question_id"
    options_class = QAOptions
    data_needs = DataNeeds(("question_id", "object_id", "question", "answer"))

    def possible_metrics(self, model: Any) -> tuple[str, ...]:
        """Return the matches, per family too, and those of the requested styles and modes."""
        choices = ("choice_accuracy", "choice_accuracy_sum") if self.mode == "choice" else ()
        styles = tuple(f"{style}/*" for style in self.options.answer_styles)
        return ("exact_match", "refined_exact_match", "exact_match/*", *choices, *styles)

    def needed_abilities(self) -> dict[type, str]:
        """Return Answerer for written answers, JointEmbedder for votes, else AnswerScorer."""
        return {NEEDED.get(self.mode, AnswerScorer): f"run.qa_mode={self.mode}"}

    def expected_ids(self, dataset: Any) -> list[str]:
        """Ids of the split's questions."""
        return [str(entry["question_id"]) for entry in dataset.annotation]

    @property
    def mode(self) -> str:
        return str(self.options.qa_mode)

    def check_data(self, dataset: Any, where: str) -> None:
        """Refuse questions without an answer, or without candidates where they are needed."""
        super().check_data(dataset, where)
        if records_of(dataset):
            self.candidates_of(dataset, where)

    def before_evaluation(self, model: Any, dataset: Any, **kwargs: Any) -> None:
        """Lay out the candidate answers of every question, or embed the objects that vote."""
        if self.mode == "neighbours":
            self.neighbours = NeighbourAnswers.read(
                model, dataset, int(self.run_cfg.batch_size_eval), self.options.answer_own_size
            )
        self.candidates = self.candidates_of(dataset, f"run.qa_mode={self.mode}")

    def candidates_of(self, dataset: Any, where: str) -> dict[str, list[str]]:
        """Return {question id: candidate answers}; empty when answers are written.

        Raises:
            ConfigError: a question without choices, or no training answer to rank.
        """
        if self.mode in ("generate", "neighbours"):
            return {}
        count, seed = self.options.candidates, int(self.run_cfg.get("seed", 42))
        frequent = answers_by_family(dataset.train_annotation())
        found: dict[str, list[str]] = {}
        for entry in dataset.annotation:
            known = frequent.get(entry.get("family", ""), [])
            name = str(entry["question_id"])
            if self.mode == "choice":
                found[name] = choices_of(entry, known, count, seed, where)
            else:
                found[name] = known[:count]
        if not any(found.values()):
            what = "no question has a training answer of its family to rank"
            fix = "give the data a training split, or set run.qa_mode=generate"
            raise ConfigError(what, where=where, got=f"families {sorted(frequent)}", fix=fix)
        return found

    def valid_step(self, model: Any, samples: dict[str, Any]) -> Records:
        """Answer a batch of questions."""
        keys = ("question_id", "object_id", "question", "answer", "family", "question_type")
        columns = [samples[key] for key in keys if key in samples]
        names = [key for key in keys if key in samples]
        rows: Records = [dict(zip(names, map(str, row))) for row in zip(*columns, strict=True)]
        for row, several in zip(rows, samples.get("answers") or [None] * len(rows), strict=True):
            row |= {"answers": [str(answer) for answer in several]} if several else {}
        for row, found in zip(rows, self.answers(model, samples, rows), strict=True):
            row.update(found)
        return rows

    def answers(self, model: Any, samples: dict[str, Any], rows: Records) -> Records:
        """The prediction of each question, with the likelihoods of its candidates."""
        if self.mode == "generate":
            texts = model.answer(
                samples, num_beams=self.options.num_beams, max_len=self.options.max_len
            )
            return [{"prediction": str(text)} for text in texts]
        if self.mode == "neighbours":
            options = self.options
            temperatures = options.object_temperature, options.question_temperature
            return [
                {"prediction": answers[0], "ranked": answers[:10]}
                for answers in self.neighbours.answers(model, samples, rows, temperatures)
            ]
        candidates = [self.candidates[row["question_id"]] for row in rows]
        found = []
        for texts, scores in zip(candidates, model.score_answers(samples, candidates), strict=True):
            sums, counts = scores[:, 0].tolist(), scores[:, 1].tolist()
            means = scores[:, 0] / scores[:, 1]
            order = means.argsort(descending=True, stable=True).tolist()
            found.append(
                {
                    "prediction": texts[order[0]] if texts else "",
                    "ranked": [texts[k] for k in order[:10]],
                    "candidates": texts,
                    "log_likelihoods": sums,
                    "n_tokens": [int(count) for count in counts],
                }
            )
        return found

    def score(self, records: Records, dataset: Any, model: Any) -> Scores:
        """Exact and refined match, overall, per family and per question type."""
        answers, families = right_answers(records, dataset), column(records, "family")
        scores = qa_scores(column(records, "prediction"), answers, families)
        for record in records:
            right = answers[record["question_id"]]
            record["correct"] = exact_match(record["prediction"], right)
        pool = pool_of(dataset, [r["object_id"] for r in records if "object_id" in r])
        found = answer_baselines(pool, records)
        baselines = {name: qa_scores(given, answers, families) for name, given in found.items()}
        result = Scores(
            metrics=scores.metrics(),
            baselines={name: given.values for name, given in baselines.items()},
            agg_metrics=scores.values["exact_match"],
            extra={
                "per_family": scores.per_family,
                "most_frequent": most_frequent_by_type(pool.train),
                "mode": self.mode,
                "unavailable": dict(scores.unavailable),
                **({"baseline_pool": pool.size} if pool.whole else {}),
            },
            per_item=qa_items(scores),
            baseline_items={name: qa_items(given) for name, given in baselines.items()},
            claims=["exact_match", *reported_families(scores)],
        )
        if all(record.get("question_type") for record in records):
            kinds = column(records, "question_type")
            result.extra["per_question_type"] = scores.per_group(kinds)
        self._add_published(result, records, answers)
        self._add_choices(result, records)
        return result

    def _add_published(
        self, result: Scores, records: Records, answers: dict[str, list[str]]
    ) -> None:
        styles = list(self.options.answer_styles)
        if not styles:
            return
        given: dict[Any, Any] = {
            r["question_id"]: r.get("ranked", r["prediction"]) for r in records
        }
        java = self.options.java_metrics
        published = published_scores(given, answers, styles, java_metrics=java)
        result.metrics |= published.metrics
        result.per_item |= by_id(list(answers), published.per_item)
        result.extra["unavailable"] |= published.unavailable

    def _add_choices(self, result: Scores, records: Records) -> None:
        """Multiple-choice accuracy and its chance."""
        if self.mode != "choice":
            return
        right = {r["question_id"]: r["candidates"].index(r["answer"]) for r in records}
        metrics = multiple_choice_metrics(
            column(records, "log_likelihoods"), column(records, "n_tokens"), right
        )
        chance = float(np.mean([1 / len(record["candidates"]) for record in records]))
        result.metrics |= metrics
        result.baselines["chance"] = dict.fromkeys(metrics, chance)


def column(records: Records, key: str) -> dict[str, Any]:
    """One field of every question, {question id: value}."""
    return {record["question_id"]: record[key] for record in records}


def right_answers(records: Records, dataset: Any) -> dict[str, list[str]]:
    """Return all right answers of each question: `answers` of its record or annotation, if any."""
    annotated = {str(entry["question_id"]): entry.get("answers") for entry in dataset.annotation}
    found = {}
    for record in records:
        name = record["question_id"]
        several = record.get("answers") or annotated.get(name)
        found[name] = [str(a) for a in several] if several else [record["answer"]]
    return found


def qa_items(scores: QAScores) -> dict[str, dict[str, float]]:
    """Lay out per-item values; those of a family hold only its questions."""
    overall = {
        "exact_match": scores.exact_match,
        "refined_exact_match": scores.refined_exact_match,
    }
    families = {
        metric: {str(i): value for i, value in items.items()}
        for metric, items in scores.family_items.items()
    }
    return by_id(scores.ids, overall) | families


def reported_families(scores: QAScores) -> list[str]:
    """Return "exact_match/<family>" of the families that are reported alone."""
    return [name for name in scores.family_items if name != f"exact_match/{RARE}"]


def most_frequent_by_type(train: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the most frequent training answer of each question type, else of each family."""
    typed = all(entry.get("question_type") for entry in train)
    return most_frequent_answers(
        ({"family": "", **entry} for entry in train),
        family_key="question_type" if typed else "family",
    )


def answers_by_family(train: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Training answers of each family, the most frequent first, then by the alphabet."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in train:
        counts[entry.get("family", "")][str(entry["answer"])] += 1
    return {
        family: sorted(counter, key=lambda answer: (-counter[answer], answer))
        for family, counter in counts.items()
    }


def choices_of(
    entry: dict[str, Any], known: list[str], count: int, seed: int, where: str
) -> list[str]:
    """Return the annotation's choices, or the answer among drawn wrong answers, shuffled.

    Args:
        entry: the question's record.
        known: training answers of its family.
        count: how many choices are drawn.
        seed: of the draws.
        where: the key that selects the mode, for the message.

    Raises:
        ConfigError: the annotation's choices lack the answer, or there is no wrong answer to draw.
    """
    answer, given = str(entry["answer"]), entry.get("choices")
    choices = [str(choice) for choice in given] if given else []
    if not choices:
        wrong = [text for text in known if normalize_answer(text) != normalize_answer(answer)]
        rng = np.random.default_rng([seed, *str(entry["question_id"]).encode()])
        drawn = rng.permutation(len(wrong))[: count - 1].tolist()
        choices = [answer, *(wrong[k] for k in drawn)]
        choices = [choices[k] for k in rng.permutation(len(choices)).tolist()]
    if answer not in choices or len(choices) < 2:
        raise ConfigError(
            "a question has no choices with its answer among them",
            where=f"{where}: question {entry['question_id']}",
            got=choices,
            expected=f"two or more, one of them {answer!r}",
            fix="give the question `choices`, or set run.qa_mode=generate",
        )
    return choices
