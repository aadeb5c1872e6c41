"""docs/architecture.md names the rooms and what each of them imports."""

import ast
import re
from pathlib import Path

import pytest

ROOMS = ("common", "config", "datasets", "processors", "models", "evaluation", "tasks", "runners")


def imported_rooms(folder: Path) -> set[str]:
    """Return the rooms of `lavis` that the files of a room import, at their top or in functions."""
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            found |= {name.split(".")[1] for name in names if name.startswith("lavis.")}
    return found & set(ROOMS) - {folder.name}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_the_table_says(repo_root, room):
    text = (repo_root / "docs" / "architecture.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| `lavis/{room}` \|.*\| (.*) \|$", text, re.MULTILINE)
    assert row is not None
    assert imported_rooms(repo_root / "lavis" / room) == set(row[1].split(", ")) - {"–"}


def test_the_room_of_models_holds_at_most_six_files_of_its_own(repo_root):
    assert len(list((repo_root / "lavis" / "models").glob("*.py"))) <= 6
