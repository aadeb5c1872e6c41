"""Which column of a table means what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lavis.common.errors import ConfigError, DataError, nearest

# {meaning: names in use, in lower case}. Several columns may hold captions.
NAMES: dict[str, tuple[str, ...]] = {
    "object": (
        *("object_id", "object", "id", "uid", "uuid", "file", "filename", "file_name", "path"),
        *("model_id", "model", "mesh", "cloud", "point", "points", "pcd_id", "name"),
    ),
    "caption": (
        *("caption", "captions", "text", "texts", "description", "descriptions", "prompt"),
        *("caption_1", "caption_2", "caption_3", "caption_4", "caption_5"),
    ),
    "class": ("class", "category", "label", "class_name", "classname"),
    "question": ("question",),
    "answer": ("answer", "answers"),
    "question_type": ("question_type", "family"),
    "group": ("group", "group_id", "group_key"),
    "split": ("split",),
}


def columns_of(names: Sequence[str], chosen: Mapping[str, str], where: str) -> dict[str, list[str]]:
    """Return {meaning: columns} of a table.

    Args:
        names: of all columns.
        chosen: {meaning: column} of the user (`--columns`), before the names in use.
        where: the table, for messages.

    Raises:
        ConfigError: an unknown meaning, or a chosen column that is not there.
        DataError: no column names the objects.
    """
    found: dict[str, list[str]] = {}
    for meaning, column in chosen.items():
        if meaning not in NAMES or column not in names:
            is_known = meaning in NAMES
            hint = nearest(column if is_known else meaning, names if is_known else NAMES)
            raise ConfigError(
                f"--columns names what is not there.{hint}",
                where=f"--columns {meaning}={column}",
                expected=f"{', '.join(NAMES)} = one of: {', '.join(names)}",
            )
        found[meaning] = [column]
    taken = set(chosen.values())
    for meaning, known in NAMES.items():
        by_name = {name.lower(): name for name in names if name not in taken}
        present = [by_name[name] for name in known if name in by_name]
        if present and meaning not in found:
            found[meaning] = present if meaning == "caption" else present[:1]
            taken.update(found[meaning])
    if "object" not in found:
        raise DataError(
            "no column of the table names the objects",
            where=where,
            got=", ".join(names)[:300],
            expected=" or ".join(NAMES["object"]),
            fix="--columns object=<name of the column>",
        )
    return found
