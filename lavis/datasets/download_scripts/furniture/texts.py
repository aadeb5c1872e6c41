"""Texts of the furniture, from facts of the catalogue alone.

captions(model)      ["armchair", "armchair, seat", "armchair for the office"]
description(model)   "armchair, 59 cm wide, 105 cm high, 63 cm deep"
"""

from __future__ import annotations

from lavis.datasets.download_scripts.furniture.catalogue import Model

# Categories of the place where a thing is used; the others name a kind ("Lights") or nothing.
PLACES = {
    **{room: f"the {room.lower()}" for room in ("Living room", "Kitchen", "Bedroom", "Bathroom")},
    "Office": "the office",
    "Exterior": "outdoors",
}
ROOM_QUESTION = "where is it used?"


def captions(model: Model) -> list[str]:
    """Return one to three captions; the first is the name."""
    name = model.name.lower()
    known = name.split()
    tags = [tag.lower() for tag in model.tags if tag.lower() not in known]
    texts = [name]
    if tags:
        texts += [", ".join([name, *tags])]
    if model.category in PLACES:
        place = PLACES[model.category]
        texts += [f"{name} {place}" if place == "outdoors" else f"{name} for {place}"]
    return texts


def description(model: Model) -> str:
    """Return the name and the size of the box."""
    width, height, depth = (length(edge) for edge in model.size)
    return f"{model.name.lower()}, {width} wide, {height} high, {depth} deep"


def length(metres: float) -> str:
    """Return a length as people write it: "4.2 m", "59 cm", "2.5 cm"."""
    if metres >= 2:
        return f"{metres:.1f} m"
    centimetres = metres * 100
    return f"{centimetres:.0f} cm" if centimetres >= 10 else f"{centimetres:.1f} cm"


def room_question(model: Model) -> dict[str, str] | None:
    """Return a question with its answer, the place of the category; None: it names none."""
    if model.category not in PLACES:
        return None
    return {"question": ROOM_QUESTION, "answer": PLACES[model.category].removeprefix("the ")}
