"""What the page asks of the trained systems: one request at a time, every input checked.

    service = Service(["demo"], open_collection())
    table = service.place("chair.ply", "auto")          # the object of one browser page
    service.caption("demo", table)
    table = service.ask("demo", table, "What is this?")   # the answer is table.turns[-1][1]

Nothing here knows gradio. A page's object and chat are a `Table` that the page keeps, so two users
share the models and nothing else.
"""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np

from lavis.common.errors import ConfigError, DataError
from lavis.evaluation.scenes.labelled import write_labelled
from pointlang.app.collection import Item
from pointlang.app.reading import read_upload
from pointlang.objects import NUM_POINTS, ROOM_POINTS, Object
from pointlang.runs import NO_MODEL, load, systems
from pointlang.system import Gallery, System

KEPT = 2  # systems in memory
TURNS = 4  # earlier questions and answers that a model reads
MOST_LETTERS, MOST_LABELS = 500, 100
FOUND = 8


@dataclass(frozen=True)
class Table:
    """What one browser page has before it.

    Attributes:
        object: that was dropped or picked.
        known_size: its size has the unit of the training data.
        turns: (question, answer) pairs about it.
    """

    object: Object
    known_size: bool = False
    turns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Room:
    """A labelled room.

    Attributes:
        page: HTML that shows it, loading nothing.
        shares: {label: share of the points}, most first.
    """

    page: str
    shares: dict[str, float]


class _Loaded:
    """A system with the embeddings of the collection.

    Args:
        system: see `pointlang.load`.
        items: the collection.
    """

    def __init__(self, system: System, items: Sequence[Item]) -> None:
        self.system, self._items = system, items

    @cached_property
    def gallery(self) -> Gallery:
        """The embedded collection; names are the numbers of its items."""
        found = self.system.gallery([item.object for item in self._items])
        return Gallery([str(k) for k in range(len(self._items))], found.embeds)


class Service:
    """Reads uploads and asks trained systems.

    Args:
        named: names, run folders or hub folders; none: every system below `root`.
        items: objects to pick and to search in.
        device: see `pointlang.load`.
        root: folder of the systems; None: output/.
        seconds: the most that reading a file may take.

    Raises:
        ConfigError: no such system, or none at all.
    """

    def __init__(
        self,
        named: Sequence[str],
        items: Sequence[Item],
        device: str = "auto",
        root: str | Path | None = None,
        seconds: float = 60.0,
    ) -> None:
        self.items, self._device, self._root, self._seconds = items, device, root, seconds
        self._named = {name: load(name, device).abilities for name in named}
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()
        self._lock = Lock()
        if not self.systems():
            where = str(root or "output/")
            raise ConfigError("There is no trained system.", where=where, fix=NO_MODEL)

    def systems(self) -> dict[str, tuple[str, ...]]:
        """Return {name: abilities}; runs that were trained since the start are among them."""
        return self._named or systems(self._root)

    def place(self, path: str | Path, up: str) -> Table:
        """Return the table with an uploaded object.

        Raises:
            DataError: see `read_upload`.
        """
        return Table(read_upload(path, up, NUM_POINTS, self._seconds))

    def pick(self, number: int) -> Table:
        """Return the table with an object of the collection."""
        item = self.items[number]
        return Table(item.object, item.known_size)

    def caption(self, name: str, table: Table | None) -> str:
        """Return a caption of the object.

        Raises:
            DataError: there is no object.
            ConfigError: the system is unknown, or cannot write captions.
        """
        shown = _needed(table)
        with self._lock:
            return self._system(name, shown).caption(shown.object)[0]

    def ask(self, name: str, table: Table | None, question: str) -> Table:
        """Return the table with one more turn; the model reads the last ones.

        Raises:
            DataError: there is no object, or the question is empty or too long.
            ConfigError: the system is unknown, or cannot answer.
        """
        shown = _needed(table)
        _check_length("question", question)
        with self._lock:
            system = self._system(name, shown)
            answer = system.ask(shown.object, question, shown.turns[-TURNS:])
        return replace(shown, turns=(*shown.turns, (question.strip(), answer)))

    def classify(self, name: str, table: Table | None, labels: str) -> dict[str, float]:
        """Return {label: probability}.

        Raises:
            DataError: there is no object; fewer than two labels, too many or too long ones.
            ConfigError: the system is unknown, or cannot classify.
        """
        shown = _needed(table)
        words = split_words(labels)
        with self._lock:
            return self._system(name, shown).classify(shown.object, words)[0]

    def search(
        self, name: str, query: Table | str | None, top: int = FOUND
    ) -> list[tuple[int, float]]:
        """Return (number of an item, cosine) of the nearest objects of the collection.

        Args:
            name: of the system.
            query: a text, or the table whose object is compared.
            top: how many.

        Raises:
            DataError: no query, or no collection.
            ConfigError: the system is unknown, or does not embed such a query.
        """
        if isinstance(query, str):
            _check_length("text", query)
        asked = query.strip() if isinstance(query, str) else _needed(query).object
        if not asked:
            raise DataError("The text is empty.", expected='e.g. "a red chair"')
        if not self.items:
            fix = "start the demo with --objects FOLDER, or prepare the bricks by `make demo`"
            raise DataError("There are no objects to search in.", fix=fix)
        with self._lock:
            system = self._system(name)
            system.require("retrieve")
            found = system.retrieve(asked, self._loaded[name].gallery, top)
        return [(int(number), score) for number, score in found]

    def room(self, path: str | Path, up: str) -> Object:
        """Return an uploaded room, in metres.

        Raises:
            DataError: see `read_upload`.
        """
        return read_upload(path, up, ROOM_POINTS, self._seconds)

    def segment(self, name: str, room: Object | None, labels: str) -> Room:
        """Label the points of a room.

        Args:
            name: of the system.
            room: see `room`.
            labels: own words; empty: those of training.

        Raises:
            DataError: there is no room; too many or too long labels.
            ConfigError: the system is unknown, or cannot segment.
        """
        if room is None:
            raise DataError("There is no room.", fix="drop a file with a room in metres")
        words = split_words(labels) or None
        with self._lock:
            found = self._system(name).segment(room, words)
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / f"{Path(room.name).stem}.html"
            cloud = np.concatenate([found.xyz, found.rgb], axis=1)
            write_labelled(place, cloud, found.label_of_point, found.labels)
            return Room(place.read_text(encoding="utf-8"), found.shares())

    def _system(self, name: str, table: Table | None = None) -> System:
        """Return a system, loaded at its first use; the one used longest ago leaves the memory."""
        if name not in self._loaded:
            known = self.systems()
            if name not in known:  # a name from the browser never is a path
                got, expected = name or "none", ", ".join(known)
                raise ConfigError("Unknown system.", got=got, expected=expected)
            source = name if self._named or self._root is None else Path(self._root) / name
            self._loaded[name] = _Loaded(load(source, self._device), self.items)
        self._loaded.move_to_end(name)
        while len(self._loaded) > KEPT:
            self._loaded.popitem(last=False)
        system = self._loaded[name].system
        system.known_size = table is not None and table.known_size
        return system


def split_words(text: str) -> list[str]:
    """Return the labels of a text, separated by commas or lines.

    Raises:
        DataError: too many, or too long.
    """
    _check_length("list of labels", text, MOST_LETTERS * 10)
    words = [word.strip() for word in text.replace("\n", ",").split(",") if word.strip()]
    if len(words) > MOST_LABELS:
        expected = f"at most {MOST_LABELS}"
        raise DataError("There are too many labels.", got=len(words), expected=expected)
    return words


def _check_length(what: str, text: str, most: int = MOST_LETTERS) -> None:
    if len(text) > most:
        got, expected = f"{len(text)} letters", f"at most {most}"
        raise DataError(f"The {what} is too long.", got=got, expected=expected)


def _needed(table: Table | None) -> Table:
    if table is None:
        raise DataError("There is no object.", fix="drop a file, or pick an object")
    return table
