"""Referring expressions: sentences that exactly one object of a room satisfies.

Every kind has a margin: the next object of the class misses the condition clearly, so that a
sentence needs no measuring. Objects with the target's class count even where they are hardly
visible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lavis.datasets.download_scripts.rooms.classes import BRICK

NEAR, APART = 0.4, 0.9  # metres between boxes: next to, and clearly not
CLEARER = 0.5  # metres by which the closest and farthest object differs from the second
LARGER = 1.4  # factor of volume by which the largest object exceeds the second
TALLER = 0.15  # metres
LEAST_POINTS = 30  # that show a target or an anchor


@dataclass(frozen=True)
class Thing:
    """An object of a room, as expressions see it.

    Attributes:
        instance: its label in the cloud.
        label: class.
        box: [6], centre and size, metres.
        support: instance that it stands on; negative: floor or wall.
        points: of the cloud that show it.
        color: of a building block, else "".
    """

    instance: int
    label: str
    box: np.ndarray
    support: int
    points: int
    color: str = ""


@dataclass(frozen=True)
class Expression:
    """A sentence and what it means.

    Attributes:
        text: "the chair next to the bed".
        kind: "only", "next to", "closest", "farthest", "on", "largest", "tallest", "color".
        target: instance.
        label: class of the target.
        anchor: instance of the other object; -1: none.
    """

    text: str
    kind: str
    target: int
    label: str
    anchor: int = -1


def gap(first: np.ndarray, second: np.ndarray) -> float:
    """Return the distance of two boxes [6] in metres, 0 where they touch."""
    apart = np.abs(first[:3] - second[:3]) - (first[3:] + second[3:]) / 2
    return float(np.linalg.norm(np.maximum(apart, 0.0)))


def _measure(kind: str, thing: Thing) -> float:
    return float(thing.box[3:].prod() if kind == "largest" else thing.box[4])


_TEMPLATES = {
    "only": ("the {label}", "the only {label} in the room"),
    "next to": ("the {label} next to the {anchor}", "the {label} beside the {anchor}"),
    "closest": ("the {label} closest to the {anchor}", "the {label} nearest to the {anchor}"),
    "farthest": ("the {label} farthest from the {anchor}",),
    "on": ("the {label} on the {anchor}", "the {label} that stands on the {anchor}"),
    "largest": ("the largest {label}", "the biggest {label} in the room"),
    "tallest": ("the tallest {label}",),
    "color": ("the {color} {label}",),
}


def describe(things: Sequence[Thing], rng: np.random.Generator, most: int) -> list[Expression]:
    """Return up to so many expressions of different meanings, in a random order.

    Args:
        things: all objects of the room.
        rng: of the choice and of the wording.
        most: so many at most; kinds take turns.
    """
    found: dict[str, list[tuple[Thing, Thing | None, str]]] = {kind: [] for kind in _TEMPLATES}
    for kind, target, anchor, condition in _candidates(things):
        if target.points >= LEAST_POINTS and (anchor is None or anchor.points >= LEAST_POINTS):
            found[kind] += [(target, anchor, condition)]
    chosen: list[Expression] = []
    for kind, places in found.items():
        found[kind] = [places[i] for i in rng.permutation(len(places))]
    while len(chosen) < most and any(found.values()):
        for kind, places in found.items():
            if places and len(chosen) < most:
                chosen += [_expression(kind, *places.pop(), rng)]
    return [chosen[i] for i in rng.permutation(len(chosen))]


def _expression(
    kind: str, target: Thing, anchor: Thing | None, condition: str, rng: np.random.Generator
) -> Expression:
    templates = _TEMPLATES[kind]
    text = templates[rng.integers(len(templates))].format(
        label=target.label, anchor=anchor.label if anchor else "", color=target.color
    )
    place = -1 if anchor is None else anchor.instance
    return Expression(text, condition, target.instance, target.label, place)


def _candidates(things: Sequence[Thing]) -> Iterator[tuple[str, Thing, Thing | None, str]]:
    """Yield (kind, target, anchor, condition) that hold with a margin."""
    by_label: dict[str, list[Thing]] = {}
    for thing in things:
        by_label.setdefault(thing.label, []).append(thing)
    anchors = [members[0] for members in by_label.values() if len(members) == 1]
    for label, members in by_label.items():
        if len(members) == 1:
            yield "only", members[0], None, "only"
            continue
        if label == BRICK:
            yield from _by_color(members)
        for kind, is_clear in _ORDERS:
            ordered = sorted(members, key=lambda t: -_measure(kind, t))
            if is_clear(_measure(kind, ordered[0]), _measure(kind, ordered[1])):
                yield kind, ordered[0], None, kind
        for anchor in anchors:
            yield from _by_anchor(members, anchor)


_ORDERS: tuple[tuple[str, Callable[[float, float], bool]], ...] = (
    ("largest", lambda first, second: first > LARGER * second),
    ("tallest", lambda first, second: first > second + TALLER),
)


def _by_color(members: Sequence[Thing]) -> Iterator[tuple[str, Thing, None, str]]:
    colors = [thing.color for thing in members]
    for thing in members:
        if thing.color and colors.count(thing.color) == 1:
            yield "color", thing, None, f"color {thing.color}"


def _by_anchor(
    members: Sequence[Thing], anchor: Thing
) -> Iterator[tuple[str, Thing, Thing | None, str]]:
    """Yield what distinguishes one of several objects of a class by another object."""
    on = [thing for thing in members if thing.support == anchor.instance]
    if len(on) == 1:
        yield "on", on[0], anchor, "on"
    if on or any(thing.instance == anchor.support for thing in members):
        return  # what stands on something is next to it, too
    distances = sorted((gap(thing.box, anchor.box), thing.instance) for thing in members)
    by_instance = {thing.instance: thing for thing in members}
    first, second = distances[0], distances[1]
    if first[0] <= NEAR and second[0] > APART:
        yield "next to", by_instance[first[1]], anchor, "next to"
    if first[0] + CLEARER < second[0]:
        yield "closest", by_instance[first[1]], anchor, "closest"
    if distances[-2][0] + CLEARER < distances[-1][0]:
        yield "farthest", by_instance[distances[-1][1]], anchor, "farthest"
