"""What a conversion left out and what the user should check: report.json and a summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lavis.datasets.convert.pack import Chosen
from lavis.datasets.convert.scan import Found
from lavis.datasets.convert.splits import LEFT_OUT
from lavis.datasets.convert.texts import Joined
from lavis.datasets.convert.up_axis import count_up, mixed_note
from lavis.datasets.manifest import write_json

_SHOWN = 5  # entries of a list on the terminal


def write_report(
    path: Path, found: Found, joined: Joined, chosen: Chosen, counts: Mapping[str, Any], up: str
) -> dict[str, Any]:
    """Write report.json; return its content.

    Args:
        path: of the file.
        found: what the folder holds.
        joined: the table; without one it is empty.
        chosen: the objects that are kept.
        counts: of `write_texts`.
        up: the user's choice of the up axis.
    """
    axes = count_up(chosen.facts.values())
    has_texts = {
        name
        for name, texts in chosen.texts.items()
        if texts.captions or texts.questions or texts.category
    }
    report = {
        "counts": counts,
        "up_axis": axes,
        "check": [note for note in (mixed_note(axes, up), *_splits(counts)) if note],
        "skipped_files": dict(sorted({**found.skipped, **chosen.problems}.items())),
        "other_files": dict(sorted(found.others.items())),
        "duplicates": dict(sorted(chosen.duplicates.items())),
        "left_out_of_splits": [n for n, f in chosen.facts.items() if f["split"] == LEFT_OUT],
        "notes": _notes(chosen.facts),
        "table": {
            "columns_used_for": sorted(joined.has),
            "columns_not_used": joined.unused,
            "problems": joined.problems,
            "texts_without_object": joined.unknown,
            "objects_without_text": [n for n in chosen.facts if joined.has and n not in has_texts],
        },
    }
    write_json(path, report)
    return report


def _splits(counts: Mapping[str, Any]) -> Iterator[str]:
    empty = [split for split, count in counts["splits"].items() if not count and split != LEFT_OUT]
    if empty:
        names = ", ".join(empty)
        yield f"no object is in {names}: give more objects, a column `split`, or --val and --test"


def _notes(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return {kind: {file: note}} of the kept objects; degenerate faces are one kind."""
    notes: dict[str, dict[str, str]] = {}
    for fact in facts.values():
        for kind, text in fact["notes"].items():
            notes.setdefault(kind, {})[fact["source"]] = text
        if fact.get("degenerate_faces"):
            text = f"{fact['degenerate_faces']:,} of {fact['faces']:,} faces have no area"
            notes.setdefault("degenerate faces", {})[fact["source"]] = text
    return notes


def summary(report: Mapping[str, Any]) -> list[str]:
    """Return the lines of a report for the terminal."""
    counts, table = report["counts"], report["table"]
    splits = ", ".join(f"{count} {name}" for name, count in counts["splits"].items())
    records = "".join(f", {count} {kind}" for kind, count in counts["records"].items())
    lines = [f"{counts['objects']} objects ({splits}){records}; {counts['with_color']} with colour"]
    lines += [f"check: {note}" for note in report["check"]]
    lines += _listed("files skipped", report["skipped_files"])
    lines += _listed(
        "duplicates left out", {a: f"equals {b}" for a, b in report["duplicates"].items()}
    )
    lines += _listed("rows with a problem", table["problems"])
    lines += _listed("texts without an object", dict.fromkeys(table["texts_without_object"], ""))
    lines += _listed("objects without a text", dict.fromkeys(table["objects_without_text"], ""))
    for kind, files in report["notes"].items():
        lines += _listed(f"files with a note ({kind})", files, 1)
    if table["columns_not_used"]:
        lines.append(f"columns not used: {', '.join(table['columns_not_used'])}")
    return lines


def _listed(title: str, entries: Mapping[str, str], most: int = _SHOWN) -> list[str]:
    if not entries:
        return []
    shown = [f"  {name}{': ' if why else ''}{why}" for name, why in list(entries.items())[:most]]
    more = len(entries) - len(shown)
    return [
        f"{len(entries)} {title}:",
        *shown,
        *([f"  … {more} more in report.json"] if more else []),
    ]
