"""What is predicted about every file: one record a file, a bad file is a record with its error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.errors import DataError
from lavis.evaluation.scenes.labelled import write_labelled
from pointlang.objects import NUM_POINTS, ROOM_POINTS, Object, read_object
from pointlang.runs import load
from pointlang.system import BATCH_SIZE, IMAGES, System, nearness

Record = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A prediction, the same for every file; it is all that a worker needs.

    Attributes:
        ability: of `pointlang.system.ABILITIES`.
        model: see `pointlang.load`.
        device: see `pointlang.load`.
        text: the question of ask, the query of retrieve (a text, or the path of a file).
        labels: of classify and segment; () are those of the model's training.
        up: axis that is up in the files.
        known_size: give the model the size in the file's unit.
        points_folder: where segment writes the labelled points; "": nowhere.
        decoding: options of caption and ask.
    """

    ability: str
    model: str = "demo"
    device: str = "auto"
    text: str = ""
    labels: tuple[str, ...] = ()
    up: str = "auto"
    known_size: bool = False
    points_folder: str = ""
    decoding: dict[str, Any] = field(default_factory=dict)


@lru_cache(maxsize=1)
def _system(model: str, device: str, known_size: bool) -> System:
    system = load(model, device)
    system.known_size = known_size
    return system


def system_of(task: Task) -> System:
    """Return the task's system; a process loads it once."""
    return _system(task.model, task.device, task.known_size)


def predict(task: Task, paths: Sequence[str], batch_size: int = BATCH_SIZE) -> Iterator[Record]:
    """Yield one record a file, in their order.

    Args:
        task: what is predicted.
        paths: files.
        batch_size: files that are read before the model is called.
    """
    answer = _ANSWERS[task.ability]
    for start in range(0, len(paths), batch_size):
        read = [_read(task, path) for path in paths[start : start + batch_size]]
        good = [one for one in read if isinstance(one, Object)]
        answers = iter(answer(system_of(task), task, good) if good else ())
        for one in read:
            if isinstance(one, Object):
                yield {"file": one.name, **next(answers), "notes": one.notes}
            else:
                yield one


def _read(task: Task, path: str) -> Object | Record:
    points = ROOM_POINTS if task.ability == "segment" else NUM_POINTS
    try:
        return read_object(path, task.up, points)
    except DataError as error:
        return {"file": path, "error": str(error)}


def _caption(system: System, task: Task, objects: list[Object]) -> list[Record]:
    return [{"caption": text} for text in system.caption(objects, **task.decoding)]


def _ask(system: System, task: Task, objects: list[Object]) -> list[Record]:
    answers = system.ask(objects, task.text, **task.decoding)
    return [{"question": task.text, "answer": text} for text in answers]


def _classify(system: System, task: Task, objects: list[Object]) -> list[Record]:
    rows = system.classify(objects, task.labels)
    return [{"label": next(iter(row)), "probabilities": _rounded(row)} for row in rows]


def _embed(system: System, task: Task, objects: list[Object]) -> list[Record]:
    return [{"embedding": row.tolist()} for row in system.embed(objects)]


def _retrieve(system: System, task: Task, objects: list[Object]) -> list[Record]:
    query = system.query(query_of(task.text, task.up))
    scores = nearness(system.gallery(objects).embeds, query).tolist()
    return [{"score": round(score, 6)} for score in scores]


def _segment(system: System, task: Task, rooms: list[Object]) -> list[Record]:
    records = []
    for room in rooms:
        found = system.segment(room, task.labels or None)
        record: Record = {"shares": _rounded(found.shares())}
        if task.points_folder:
            place = Path(task.points_folder) / f"{Path(room.name).stem}.npz"
            place.parent.mkdir(parents=True, exist_ok=True)
            np.savez(
                place,
                xyz=found.xyz,
                rgb=found.rgb,
                label=found.label_of_point,
                confidence=found.confidence,
                labels=np.array(found.labels),
            )
            record["points"] = str(place)
            cloud = np.concatenate([found.xyz, found.rgb], axis=1)
            page = place.with_suffix(".html")
            write_labelled(page, cloud, found.label_of_point, found.labels)
            record["page"] = str(page)
        records.append(record)
    return records


def query_of(text: str, up: str = "auto") -> Any:
    """Return what a query means: a picture or a cloud where it names a file, else the text."""
    path = Path(text)
    if not path.is_file():
        return text
    return path if path.suffix.lower() in IMAGES else read_object(path, up)


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in values.items()}


_ANSWERS: dict[str, Callable[[System, Task, list[Object]], list[Record]]] = {
    "caption": _caption,
    "ask": _ask,
    "classify": _classify,
    "embed": _embed,
    "retrieve": _retrieve,
    "segment": _segment,
}
