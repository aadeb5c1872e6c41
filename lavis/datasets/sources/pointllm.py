"""PointLLM's instructions on Objaverse: brief and detailed descriptions, and questions.

A file is a list of {object_id, conversations: [{from: human | gpt, value}, …]}, with a
conversation_type in the file of complex instructions. Clouds are <uid>_8192.npy, [8192,6].
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lavis.common.text_files import read_json
from lavis.datasets.datasets.annotations import Entry
from lavis.datasets.sources.released import ReleasedSource

POINT_TOKEN = "<point>"
DEFAULT_TYPE = "simple_description"  # of records without a type: the brief descriptions


class Conversation(NamedTuple):
    """One record of a file.

    Attributes:
        number: place in the file, from 0.
        object_id: Objaverse's uid.
        kind: conversation_type.
        rounds: (instruction without the point token, answer) of each round.
    """

    number: int
    object_id: str
    kind: str
    rounds: list[tuple[str, str]]


class PointLLMSource(ReleasedSource):
    """Read conversations of the types in `build_info.conversation_types`."""

    origin = (
        "PointLLM's release (hub data set RunsenXu/PointLLM): lists of {object_id, conversations}, "
        "and 8192_npy/<uid>_8192.npy"
    )

    def conversations(self, path: Path) -> list[Conversation]:
        """Return the conversations of the wanted types, without the skipped objects.

        Raises:
            ValueError: another layout, or no conversation of these types; the record is named.
        """
        found = [_conversation(number, record) for number, record in enumerate(_records(path))]
        wanted = set(self.info.conversation_types)
        chosen = [one for one in found if one.kind in wanted]
        if not chosen:
            kinds = dict(Counter(one.kind for one in found))
            raise ValueError(f"no conversation of the types {sorted(wanted)}, but {kinds}")
        skipped = self.skipped & {one.object_id for one in chosen}
        if skipped:
            logging.warning("%s: objects left out, damaged colours: %s", path, sorted(skipped))
        return [one for one in chosen if one.object_id not in skipped]

    @property
    def skipped(self) -> frozenset[str]:
        """Uids with damaged colours; without colour they are usable."""
        processors = self.config.point_processor
        with_color = any(processors[mode].use_color for mode in ("train", "eval"))
        return frozenset(self.info.skip_ids if with_color else ())


class PointLLMCaptions(PointLLMSource):
    """Descriptions: the first answer is the caption."""

    def read(self, path: Path) -> list[Entry]:
        """Return a record per conversation."""
        return [
            {"object_id": one.object_id, "caption": one.rounds[0][1]}
            for one in self.conversations(path)
        ]


class PointLLMQuestions(PointLLMSource):
    """Instructions and answers; later rounds contain the earlier ones, unless `history` is off."""

    def read(self, path: Path) -> list[Entry]:
        """Return a record per round; ids are <uid>/<place in the file>/<round>."""
        return [entry for one in self.conversations(path) for entry in self._rounds(one)]

    def _rounds(self, conversation: Conversation) -> Iterator[Entry]:
        said: list[str] = []
        for number, (question, answer) in enumerate(conversation.rounds):
            yield {
                "question_id": f"{conversation.object_id}/{conversation.number}/{number}",
                "object_id": conversation.object_id,
                "question": " ".join([*said, question]) if self.info.history else question,
                "answer": answer,
                "family": conversation.kind,
                "question_type": conversation.kind,
            }
            said += [question, answer]


def _records(path: Path) -> list[Any]:
    content = read_json(path)
    if not isinstance(content, list) or not content:
        raise ValueError(f"a {type(content).__name__}, no list of conversations")
    return content


def _conversation(number: int, record: Any) -> Conversation:
    """Check one record of a file."""
    turns = record.get("conversations") if isinstance(record, Mapping) else None
    uid = record.get("object_id") if isinstance(record, Mapping) else None
    if not isinstance(uid, str) or not isinstance(turns, list) or len(turns) % 2 or not turns:
        raise ValueError(f"record {number}: no object_id with pairs of human and gpt")
    values = [_value(number, turn, ("human", "gpt")[i % 2]) for i, turn in enumerate(turns)]
    kind = str(record.get("conversation_type", DEFAULT_TYPE))
    return Conversation(number, uid, kind, list(zip(values[::2], values[1::2])))


def _value(number: int, turn: Any, speaker: str) -> str:
    if not isinstance(turn, Mapping) or turn.get("from") != speaker:
        raise ValueError(f"record {number}: a turn that is not of {speaker}")
    value = turn.get("value")
    if not isinstance(value, str):
        raise ValueError(f"record {number}: a turn without a text")
    return value.replace(POINT_TOKEN, "").strip()
