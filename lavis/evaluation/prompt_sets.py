"""Prompt templates and class-name lists of zero-shot classification.

Templates: a built-in set of our own wording, or a file (a JSON list, one template a line, or the
templates.json of ULIP and Point-Bind, one list under a name). Each holds one {} for the class name;
a class is the mean of its prompts' embeddings. Class names:
ModelNet40 and ScanObjectNN are built in; Objaverse-LVIS (1156 names) is read from its own file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lavis.common.errors import ConfigError, DataError, nearest
from lavis.common.strict_json import parse_json
from lavis.common.text_files import read_text
from lavis.datasets.class_names import MODELNET40, SCANOBJECTNN

_SHORT = ("{}", "a {}", "a 3D model of a {}", "a point cloud of a {}", "this is a {}")
_KINDS = ("3D model", "3D object", "3D scan", "point cloud", "CAD model", "rendering", "shape")
_MANNERS = ("a {kind} of a {{}}", "a {kind} of one {{}}", "a rough {kind} of the {{}}")
# As many as the published list of ULIP and Point-Bind, which is read from its own file.
_VIEWS = ("photo", "picture", "rendering", "3D model", "3D scan", "point cloud", "CAD model", "toy")
_MANNERS_64 = (
    *(
        "a {kind} of a {{}}",
        "a {kind} of the {{}}",
        "a {kind} of one {{}}",
        "this {kind} is a {{}}",
    ),
    *("a good {kind} of a {{}}", "a rough {kind} of a {{}}"),
    *("a {kind} of a small {{}}", "a {kind} of a large {{}}"),
)

PROMPT_SETS: dict[str, tuple[str, ...]] = {
    "name": ("{}",),
    "short": _SHORT,
    # 24 different prompts; averaging many wordings makes one odd wording matter less.
    "ensemble": tuple(
        dict.fromkeys([*_SHORT, *(m.format(kind=kind) for kind in _KINDS for m in _MANNERS)])
    ),
    "ensemble64": tuple(m.format(kind=kind) for kind in _VIEWS for m in _MANNERS_64),
}

CLASS_LISTS = {
    "modelnet40": MODELNET40,
    # The variants differ in clouds, not in classes; their names keep scores apart.
    "scanobjectnn_obj_only": SCANOBJECTNN,
    "scanobjectnn_obj_bg": SCANOBJECTNN,
    "scanobjectnn_pb_t50_rs": SCANOBJECTNN,
}


def load_templates(name: str, where: str = "run.prompt_templates") -> list[str]:
    """Return a built-in set or the templates of a file.

    Args:
        name: of the set, or a path.
        where: the yaml key that named it, for messages.

    Raises:
        ConfigError: neither, an empty file, or a template without exactly one {}.
    """
    if name in PROMPT_SETS:
        return list(PROMPT_SETS[name])
    path = Path(name)
    if not path.is_file():
        raise ConfigError(
            f"no such set of prompts and no such file.{nearest(name, PROMPT_SETS)}",
            where=where,
            got=name,
            expected=f"one of {sorted(PROMPT_SETS)} or a file",
        )
    templates = _read_texts(path, named_list=True)
    bad = [t for t in templates if not isinstance(t, str) or t.count("{}") != 1]
    if bad or not templates:
        raise ConfigError(
            "a template holds exactly one {} for the class name",
            where=f"{where}: {path}",
            got=bad[:3] or "no templates",
        )
    return templates


def class_names(name: str) -> list[str]:
    """Return a built-in list of classes, or the names in a file.

    A file is a JSON list of names, one name a line, {category: [uids]} (Objaverse-LVIS'
    lvis-annotations.json) or a list of records with `category` (OpenShape's split/lvis.json).
    Underscores become spaces; the order is that of the file, of categories the alphabet.

    Raises:
        DataError: neither built in nor a file, or no names in it, or the same name twice.
    """
    if name in CLASS_LISTS:
        return list(CLASS_LISTS[name])
    path = Path(name)
    if not path.is_file():
        raise DataError(
            f"no such list of classes and no such file.{nearest(name, CLASS_LISTS)}",
            got=name,
            expected=f"one of {sorted(CLASS_LISTS)} or a file",
            fix="Objaverse-LVIS: give lvis-annotations.json (Objaverse) or split/lvis.json "
            "(OpenShape's meta data)",
        )
    names = [str(text).replace("_", " ") for text in _read_texts(path)]
    if not names or len(set(names)) != len(names):
        raise DataError(
            "a list of classes is empty or repeats a name", where=str(path), got=len(names)
        )
    return names


def _read_texts(path: Path, named_list: bool = False) -> list[Any]:
    """Read a list of texts; with `named_list` a mapping of one name to a list is this list."""
    text = read_text(path)
    if path.suffix != ".json":
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        content = parse_json(text)
    except ValueError as error:
        raise DataError("a file is not JSON", where=str(path), got=str(error)) from error
    if isinstance(content, dict):
        only = next(iter(content.values())) if len(content) == 1 else None
        return list(only) if named_list and isinstance(only, list) else sorted(content)
    if content and all(isinstance(entry, dict) and "category" in entry for entry in content):
        return sorted({entry["category"] for entry in content})
    return list(content)
