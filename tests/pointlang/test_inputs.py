"""Files, folders, globs, a list, and a question behind them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lavis.common.errors import DataError
from pointlang.inputs import expand, split_question


def test_folders_and_globs_hold_what_is_read(files: Path) -> None:
    names = [Path(path).name for path in expand([str(files)])]
    assert names == ["broken.ply", "green.npy", "grey.npy", "red.npy"]
    assert expand([f"{files}/r*"]) == [str(files / "red.npy")]


def test_every_file_comes_once_and_a_named_one_stays(files: Path) -> None:
    red, notes = str(files / "red.npy"), str(files / "notes.md")
    assert expand([red, notes, red]) == [red, notes]
    assert expand(["-"], [f"{red}\n", "\n", "absent.ply\n"]) == [red, "absent.ply"]


def test_a_list_in_a_file_keeps_its_order_and_any_bytes(files: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_bytes(b"b.ply\n\nscans/\xff.ply\nb.ply\n")
    assert expand([str(files / "red.npy"), f"@{listed}"]) == [
        *(str(files / "red.npy"), "b.ply"),
        "scans/\udcff.ply",
    ]


def test_ranks_do_not_share_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(DataError, match=r"@list\.txt"):
        expand(["-"])


def test_no_file_is_an_error(tmp_path: Path) -> None:
    for given in ([str(tmp_path)], ["-"], [str(tmp_path / "absent.ply")]):
        with pytest.raises(DataError):
            expand(given, [])


@pytest.mark.parametrize(
    ("given", "question"),
    [
        (["a.ply", "What is this?"], "What is this?"),
        (["a.ply", "b.ply", "describe it"], "describe it"),
        (["a.ply", "Colour?"], "Colour?"),
        (["a.ply", "b.ply"], None),
        (["What is this?"], None),
    ],
)
def test_the_question_is_told_from_files(given: list[str], question: str | None) -> None:
    inputs, found = split_question(given)
    assert found == question
    assert inputs == (given if question is None else given[:-1])


def test_a_file_with_a_space_is_no_question(files: Path) -> None:
    path = str(files / "red.npy")  # the folder's name has a space
    assert split_question(["a.ply", path]) == (["a.ply", path], None)
