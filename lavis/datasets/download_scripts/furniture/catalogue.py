"""The catalogue of Sweet Home 3D's furniture: names, tags, categories, real sizes, model files.

    models = read_models("data/furniture_models")        # after prepare_furniture
    models["scopia_bed1"].size                           # metres: width, height, depth

A library is a zip (.sh3f) with `PluginFurnitureCatalog.properties` (`key#number=value`, Latin-1,
centimetres). A model is scaled to the box size of the catalogue.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from lavis.common.errors import DataError
from lavis.common.text_files import read_json

CATALOGUE_NAME = "catalogue.json"
_LINE = re.compile(r"(\w+)#(\d+)\s*=\s*(.*)")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
# Tags of the origin of a model, not of its kind.
_PROVENANCE = {"blend swap", "okh", "scpts"}


@dataclass(frozen=True)
class Model:
    """One object of the catalogue. Lengths are metres; axes are x right, y up, z to the front.

    Attributes:
        object_id: library and folder of the model, "scopia_bed1"; also its folder on the disk.
        name, tags, category: as in the catalogue, tags without provenance.
        size: of the box along x (width), y (height) and z (depth).
        elevation: of its base above the floor: wall cupboards, ceiling lamps; 0 stands on it.
        drop_height: where things stand on it, above its base; None: nothing may.
        movable: False for what is built in (washbasins, doors).
        door_or_window: cuts into a wall.
        rotation: row-major 3x3 that turns the file's axes to ours; None: they are ours.
        file: the .obj below the object's folder.
        library, creator, licence: for attribution.
    """

    object_id: str
    name: str
    tags: tuple[str, ...]
    category: str
    size: tuple[float, float, float]
    elevation: float
    drop_height: float | None
    movable: bool
    door_or_window: bool
    rotation: tuple[float, ...] | None
    file: str
    library: str
    creator: str
    licence: str

    def to_json(self) -> dict[str, Any]:
        """Return the values for a JSON file."""
        return asdict(self)


class Entry(NamedTuple):
    """A model, and where its folder and icon are inside the library."""

    model: Model
    folder: PurePosixPath
    icon: str


def parse_catalogue(content: bytes, library: str) -> list[Entry]:
    """Return the entries of one library's properties, in their order.

    Raises:
        DataError: an entry lacks something, or has another form; it is named.
    """
    text = _ESCAPE.sub(lambda code: chr(int(code[1], 16)), content.decode("latin-1"))
    licence = re.search(r"^license=(.*)$", text, re.MULTILINE)
    numbered: dict[int, dict[str, str]] = defaultdict(dict)
    for line in text.splitlines():
        if found := _LINE.fullmatch(line.strip()):
            numbered[int(found[2])][found[1]] = found[3].strip()
    entries = []
    for number, values in sorted(numbered.items()):
        try:
            model = _model(values, library, licence[1].strip() if licence else "")
            folder = PurePosixPath(values["model"].lstrip("/")).parent
            entries.append(Entry(model, folder, values["icon"].lstrip("/")))
        except (KeyError, ValueError) as error:
            where, what = f"{library}: #{number}", "an entry of the catalogue cannot be used"
            raise DataError(what, where=where, got=repr(error)) from error
    return entries


def _model(entry: dict[str, str], library: str, licence: str) -> Model:
    path = PurePosixPath(entry["model"].lstrip("/"))
    folder, name = path.parts[-2:]
    width, height, depth = (_metres(entry[key]) for key in ("width", "height", "depth"))
    if min(width, height, depth) <= 0:
        raise ValueError(f"size {width} x {height} x {depth} m")
    drop = _metres(entry["dropOnTopElevation"]) if "dropOnTopElevation" in entry else height
    turn = tuple(float(value) for value in entry.get("modelRotation", "").split())
    tags = [tag.strip() for tag in entry.get("tags", "").split(",")]
    return Model(
        object_id=f"{path.parts[0]}_{folder}",
        name=entry["name"],
        tags=tuple(tag for tag in tags if tag and tag.lower() not in _PROVENANCE),
        category=entry["category"],
        size=(width, height, depth),
        elevation=_metres(entry.get("elevation", "0")),
        drop_height=drop if drop > 0 else None,
        movable=entry["movable"] == "true",
        door_or_window=entry["doorOrWindow"] == "true",
        rotation=turn or None,
        file=name,
        library=library,
        creator=entry.get("creator", ""),
        licence=licence,
    )


def _metres(centimetres: str) -> float:
    return round(float(centimetres) / 100, 6)


def read_models(folder: str | Path) -> dict[str, Model]:
    """Return {object id: model} of a folder that `prepare_models` made.

    Raises:
        DataError: the catalogue is missing or damaged.
    """
    path = Path(folder) / CATALOGUE_NAME
    try:
        models = [Model(**_tuples(entry)) for entry in read_json(path)]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            "the catalogue of the furniture cannot be read",
            where=str(path),
            got=str(error),
            fix="python -m lavis.datasets.download_scripts.prepare_furniture",
        ) from error
    return {model.object_id: model for model in models}


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in entry.items()}
