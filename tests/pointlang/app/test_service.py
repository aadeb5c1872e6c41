"""What the page asks of the systems: the facade's answers, checked inputs, users apart."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import pointlang
from lavis.common.errors import ConfigError, DataError
from pointlang.app.collection import Item, open_collection
from pointlang.app.service import KEPT, TURNS, Service, Table, split_words


@pytest.fixture(scope="module")
def items(objects: Path) -> list[Item]:
    return open_collection(objects)


@pytest.fixture(scope="module")
def service(root: Path, items: list[Item]) -> Service:
    return Service([], items, "cpu", root)


@pytest.fixture(scope="module")
def tiny(root: Path) -> pointlang.System:
    """The facade's own tiny system."""
    return pointlang.load(root / "tiny", "cpu")


def number(items: list[Item], title: str) -> int:
    """Return the place of an item."""
    return [item.title for item in items].index(title)


def test_every_system_of_the_folder_with_its_abilities(service: Service) -> None:
    able = ("caption", "ask", "classify", "embed", "retrieve")
    assert service.systems() == {"rooms": ("segment",), "tiny": able}


def test_a_run_that_is_trained_meanwhile_is_found(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "tiny", tmp_path / "tiny")
    service = Service([], [], "cpu", tmp_path)
    shutil.copytree(root / "rooms", tmp_path / "later")
    assert list(service.systems()) == ["later", "tiny"]


def test_named_systems_alone(root: Path) -> None:
    service = Service([str(root / "rooms")], [], "cpu")
    assert service.systems() == {str(root / "rooms"): ("segment",)}


def test_no_system_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="make demo"):
        Service([], [], "cpu", tmp_path)


@pytest.mark.parametrize("name", ["", "../output", "/tmp", "tiny/stage1"])
def test_a_name_from_the_browser_is_no_path(service: Service, items: list[Item], name: str) -> None:
    with pytest.raises(ConfigError, match="Unknown system"):
        service.caption(name, Table(items[0].object))


def test_the_answers_of_the_facade(
    service: Service, tiny: pointlang.System, items: list[Item]
) -> None:
    table = service.pick(0)
    assert service.caption("tiny", table) == tiny.caption(items[0].object)[0]
    assert (
        service.classify("tiny", table, "red,\ngreen")
        == tiny.classify(items[0].object, ["red", "green"])[0]
    )
    gallery = tiny.gallery([item.object for item in items])
    for query, own in ((table, items[0].object), ("a red box", "a red box")):
        expected = [(gallery.names.index(n), s) for n, s in tiny.retrieve(own, gallery, 2)]
        assert service.search("tiny", query, 2) == expected


def test_a_chat_has_the_last_turns_before_each_question(
    service: Service, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, tuple[tuple[str, str], ...]]] = []

    def answer(self: object, one: object, question: str, history: object) -> str:
        asked.append((question, tuple(history)))
        return f"answer {len(asked)}"

    monkeypatch.setattr(pointlang.System, "ask", answer)
    table = Table(items[0].object)
    for turn in range(TURNS + 2):
        table = service.ask("tiny", table, f"question {turn} ")
    turns = [(f"question {k}", f"answer {k + 1}") for k in range(TURNS + 2)]
    assert list(table.turns) == turns
    assert asked[0] == ("question 0 ", ())
    assert asked[-1][1] == tuple(turns[1 : TURNS + 1])


def test_two_users_at_once_have_their_own_answers(
    service: Service, tiny: pointlang.System, items: list[Item]
) -> None:
    tables = [Table(item.object) for item in items] * 3
    expected = [tiny.classify(table.object, ["a", "b"])[0] for table in tables]
    with ThreadPoolExecutor(len(tables)) as users:
        found = list(users.map(lambda table: service.classify("tiny", table, "a, b"), tables))
    for own, row in zip(expected, found, strict=True):
        assert row == pytest.approx(own, abs=1e-6)
    assert len({round(row["a"], 6) for row in found}) == len(items)


def test_sizes_are_known_for_one_request(service: Service, items: list[Item]) -> None:
    system = service._system("tiny", Table(items[0].object, known_size=True))
    assert system.known_size
    assert not service._system("tiny", Table(items[0].object)).known_size


def test_few_systems_stay_in_memory(root: Path, tmp_path: Path, items: list[Item]) -> None:
    for name in ("a", "b", "c"):
        shutil.copytree(root / "tiny", tmp_path / name)
    service = Service([], items, "cpu", tmp_path)
    for name in ("a", "b", "a", "c"):
        service.classify(name, Table(items[0].object), "x, y")
    assert list(service._loaded) == ["a", "c"]
    assert len(service._loaded) == KEPT


def test_a_room_in_own_words(service: Service, room: Path) -> None:
    read = service.room(room, "auto")
    found = service.segment("rooms", read, "bed, floor <lamp>")
    assert set(found.shares) == {"bed", "floor <lamp>"}
    assert sum(found.shares.values()) == pytest.approx(1)
    assert "floor &lt;lamp&gt;" in found.page
    assert "<title>my room</title>" in found.page
    assert set(service.segment("rooms", read, " ").shares) == {"wall", "chair"}


def test_what_a_system_cannot_do_is_a_sentence(service: Service, items: list[Item]) -> None:
    with pytest.raises(ConfigError, match="cannot caption"):
        service.caption("rooms", Table(items[0].object))
    with pytest.raises(ConfigError, match="cannot segment"):
        service.segment("tiny", items[0].object, "")
    with pytest.raises(ConfigError, match="cannot retrieve"):
        service.search("rooms", "text")


def test_missing_and_overlong_inputs_are_sentences(service: Service, items: list[Item]) -> None:
    table = Table(items[0].object)
    for call, message in (
        (lambda: service.caption("tiny", None), "no object"),
        (lambda: service.ask("tiny", table, " "), "question is empty"),
        (lambda: service.ask("tiny", table, "?" * 501), "question is too long"),
        (lambda: service.classify("tiny", table, "one"), "Labels are missing"),
        (lambda: service.search("tiny", "  "), "text is empty"),
        (lambda: service.search("tiny", "x" * 501), "text is too long"),
        (lambda: service.search("tiny", None), "no object"),
        (lambda: service.segment("rooms", None, ""), "no room"),
        (lambda: split_words("a," * 101), "too many labels"),
        (lambda: split_words("a" * 6000), "too long"),
    ):
        with pytest.raises(DataError, match=message):
            call()


def test_no_collection_says_how_to_get_one(root: Path) -> None:
    with pytest.raises(DataError, match="--objects"):
        Service([], [], "cpu", root).search("tiny", "a box")


def test_a_collection_of_files_leaves_bad_ones_out(items: list[Item], objects: Path) -> None:
    assert [item.title for item in items] == ["blue", "green", "red"]
    assert not any(item.known_size for item in items)
    assert [item.picture.shape for item in items] == [(160, 160, 3)] * 3
    assert len(open_collection(objects, most=2)) == 2


def test_a_collection_without_a_readable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.ply").write_bytes(b"ply\n")
    with pytest.raises(DataError, match="No file of the folder"):
        open_collection(tmp_path)


def test_bricks_have_their_sizes_and_are_those_of_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    import lavis.common.utils as utils
    from lavis.datasets.download_scripts.prepare_bricks import prepare_bricks

    folder = tmp_path / "bricks"
    monkeypatch.setattr(utils, "get_cache_path", lambda name: str(tmp_path / name))
    assert open_collection() == []
    prepare_bricks(folder, num_points=64, limit=200)
    entries = json.loads((folder / "annotations/caption_dev_test.json").read_text())
    found = open_collection(most=5)
    assert len(found) == 5
    assert {item.title for item in found} <= {entry["description"] for entry in entries}
    assert all(item.known_size for item in found)
    for item in found:
        edges = item.object.xyz.max(axis=0) - item.object.xyz.min(axis=0)
        assert item.object.size == pytest.approx(edges * item.object.scale, rel=1e-5)
