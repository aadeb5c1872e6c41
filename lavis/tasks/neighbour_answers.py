"""Answers by votes of the training questions about the nearest objects.

    weight = exp(cosine(object, object) / t_o + cosine(words, words) / t_q)

A question is answered by the training questions of its type, weighted by how near their objects are
in the model's embedding, and, where a yes/no question names words ("does it have a clip?"), by how
near those are in its embedding of texts: "hinge" learns from "clip hinge". Kernel regression
(Nadaraya and Watson, 1964) on pairs of an object and a question; nothing is trained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lavis.common.dist_utils import broadcast_object
from lavis.common.errors import ConfigError
from lavis.datasets.footprints import UNIT
from lavis.datasets.samples import group_of
from lavis.evaluation.baselines.answers import ROUNDING, first_answer
from lavis.evaluation.baselines.named_words import is_yes_no, named_words
from lavis.models.point_encoders.object_size import box_sizes
from lavis.tasks.embedding import embed_objects, object_embeddings

Record = Mapping[str, Any]


@dataclass(frozen=True)
class TypeVoters:
    """The training questions of one type.

    Attributes:
        rows: int64 [M], their objects among the embedded ones.
        answers: A different answers, the most frequent first, then by the alphabet.
        answer_of: int64 [M], the places of their answers.
        words: unit [W,E], embeddings of what they name; None where only the object counts.
        words_of: int64 [M], the places of what they name.
    """

    rows: Tensor
    answers: list[str]
    answer_of: Tensor
    words: Tensor | None
    words_of: Tensor


@dataclass(frozen=True)
class NeighbourAnswers:
    """The training questions of a split, by type.

    Attributes:
        clouds: unit [N,E] of the training objects; Q vectors of one lie side by side.
        groups: int64 [N]; objects of one group (parts of one mould) do not vote for each other.
        group_of: the group of each evaluated object; -1: no training object is in it.
        voters: of each question type; "" where types are not annotated.
        own_size: types whose answers are sides of the box in studs are answered by the own box.
    """

    clouds: Tensor
    groups: Tensor
    group_of: dict[str, int]
    voters: dict[str, TypeVoters]
    own_size: bool = False

    @classmethod
    @torch.no_grad()
    def read(
        cls, model: Any, dataset: Any, batch_size: int, own_size: bool = False
    ) -> NeighbourAnswers:
        """Embed the training objects of a data set and what its questions name, on every rank.

        Args:
            model: a JointEmbedder.
            dataset: evaluated split.
            batch_size: objects or texts embedded at once.
            own_size: answer questions about sizes by the rounded own box.

        Raises:
            DataError: the data set has no training split.
            ConfigError: `own_size` is set for data that do not count in studs.
        """
        if own_size and getattr(dataset, "unit", None) != UNIT:
            what, where = "the sizes of this data set are not in studs", "run.answer_own_size"
            raise ConfigError(what, where=where, got=getattr(dataset, "unit", None), expected=UNIT)
        reference = dataset.reference_dataset()
        row_of: dict[str, int] = {}  # of each object, its first question
        for row, record in enumerate(reference.annotation):
            row_of.setdefault(str(record["object_id"]), row)
        rows = list(row_of.values())
        embeds = broadcast_object(embed_objects(model, reference, batch_size, rows))
        place = {name: number for number, name in enumerate(row_of)}
        by_type: dict[str, list[Record]] = {}
        for record in reference.annotation:
            by_type.setdefault(question_type(record), []).append(record)
        yes_no = is_yes_no([{"question_type": "", **r} for r in reference.annotation])
        voters = {
            kind: read_voters(model, records, place, words_count(kind, yes_no), batch_size)
            for kind, records in by_type.items()
        }
        names = [group_of(reference.annotation[row]) for row in rows]
        number = {name: k for k, name in enumerate(dict.fromkeys(names))}
        asked = {str(r["object_id"]): number.get(group_of(r), -1) for r in dataset.annotation}
        groups = torch.tensor([number[name] for name in names])
        return cls(side_by_side(torch.from_numpy(embeds)), groups, asked, voters, own_size)

    @torch.no_grad()
    def answers(
        self,
        model: Any,
        samples: dict[str, Any],
        records: Sequence[Record],
        temperatures: tuple[float, float],
    ) -> list[list[str]]:
        """Answer a batch of B questions: all answers of a type, the one with most votes first.

        Args:
            model: as of `read`.
            samples: the batch.
            records: its questions, with `question` and, where annotated, `question_type`.
            temperatures: of objects and of words; small: the nearest alone.

        Returns:
            B lists; [""] for a type that no training question has.
        """
        embeds = side_by_side(object_embeddings(model, samples).float().cpu())
        cosines = embeds @ self.clouds.T  # [B,N]
        boxes = box_sizes(samples, "run.answer_own_size").cpu().numpy() if self.own_size else None
        phrases = sorted({what_is_named(record) for record in records})
        named = dict(zip(phrases, model.embed_texts(phrases).float().cpu(), strict=True))
        found = []
        for number, record in enumerate(records):
            rule = ROUNDING.get(question_type(record))
            if boxes is not None and rule is not None and not np.isnan(boxes[number]).any():
                found.append([rule(boxes[number])])
                continue
            near = cosines[number] / temperatures[0], named[what_is_named(record)]
            found.append(self.voted(record, *near, temperatures[1]))
        return found

    def voted(
        self, record: Record, closeness: Tensor, named: Tensor, temperature: float
    ) -> list[str]:
        """Answer one question by votes.

        Args:
            record: the question.
            closeness: [N], cosines of its object with the training objects by their temperature.
            named: unit [E], embedding of what it names.
            temperature: of words.
        """
        voters = self.voters.get(question_type(record))
        if voters is None:
            return [""]
        weights = closeness[voters.rows].double()
        if voters.words is not None:
            weights += (voters.words @ named / temperature).double()[voters.words_of]
        kept = self.groups[voters.rows] != self.group_of[str(record["object_id"])]
        votes = torch.zeros(len(voters.answers), dtype=torch.float64)
        votes.index_add_(0, voters.answer_of[kept], weights[kept].softmax(0))
        return [voters.answers[k] for k in votes.argsort(descending=True, stable=True).tolist()]


def side_by_side(embeds: Tensor) -> Tensor:
    """Return unit [B,E] or [B,Q,E] as unit [B,E] or [B,QE]: a cosine is the mean of Q cosines."""
    return embeds if embeds.ndim == 2 else embeds.flatten(1) / embeds.shape[1] ** 0.5


def question_type(record: Record) -> str:
    """Return the annotated type of a question, or ""."""
    return str(record.get("question_type") or "")


def words_count(kind: str, yes_no: set[str]) -> bool:
    """Return whether the words of questions of a type matter: yes/no, or questions of any type."""
    return kind == "" or kind in yes_no


def what_is_named(record: Record) -> str:
    """Return what a question names, or the whole question where it names nothing."""
    return " ".join(named_words(str(record["question"]))) or str(record["question"])


def read_voters(
    model: Any,
    records: Sequence[Record],
    place: Mapping[str, int],
    with_words: bool,
    batch_size: int,
) -> TypeVoters:
    """Lay out the training questions of one type.

    Args:
        model: a JointEmbedder.
        records: the questions.
        place: of each object among the embedded ones.
        with_words: embed what they name.
        batch_size: texts embedded at once.
    """
    given = [first_answer(record) for record in records]
    count = Counter(given)
    answers = sorted(count, key=lambda answer: (-count[answer], answer))
    number = {answer: k for k, answer in enumerate(answers)}
    named = [what_is_named(record) if with_words else "" for record in records]
    phrases = sorted(set(named))
    row = {phrase: k for k, phrase in enumerate(phrases)}
    parts = [phrases[k : k + batch_size] for k in range(0, len(phrases), batch_size)]
    words = [model.embed_texts(part).float().cpu() for part in parts] if with_words else []
    return TypeVoters(
        torch.tensor([place[str(record["object_id"])] for record in records]),
        answers,
        torch.tensor([number[answer] for answer in given]),
        torch.cat(words) if words else None,
        torch.tensor([row[name] for name in named]),
    )
