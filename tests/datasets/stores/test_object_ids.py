"""The index of a store's ids: the same answers as a mapping, in place; other folders by JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.datasets.stores import object_ids
from lavis.datasets.stores.object_ids import IndexedIds, open_ids, write_ids

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(ids=st.lists(texts, min_size=1, max_size=30, unique=True), other=texts)
def test_an_index_answers_as_a_mapping(tmp_path_factory, ids: list[str], other: str) -> None:
    folder = tmp_path_factory.mktemp("ids")
    plain = {name: row for row, name in enumerate(ids)}
    write_ids(folder, ids)
    index = IndexedIds(folder)
    assert open_ids(folder) == dict(index) == plain
    assert list(index) == ids
    assert [index[name] for name in ids] == list(range(len(ids)))
    assert (other in index) == (other in plain)


def test_absent_ids_are_a_key_error(tmp_path: Path) -> None:
    write_ids(tmp_path, ["b", "a"])
    index = IndexedIds(tmp_path)
    for absent in ("c", "", "a\0", "aa", "long" * 100):
        assert absent not in index
        with pytest.raises(KeyError):
            index[absent]
    assert 3 not in index


def test_a_large_store_is_read_by_its_index(tmp_path: Path, monkeypatch) -> None:
    write_ids(tmp_path, ["b", "a"])
    assert isinstance(open_ids(tmp_path), dict)
    monkeypatch.setattr(object_ids, "SMALL", 1)
    assert isinstance(open_ids(tmp_path), IndexedIds)


def test_a_folder_without_an_index_is_read_by_its_json(tmp_path: Path) -> None:
    (tmp_path / "object_ids.json").write_text(json.dumps(["b", "a"]))
    assert open_ids(tmp_path) == {"b": 0, "a": 1}


@pytest.mark.parametrize("ids", [[], ["x" * 300, "y"], ["with\0nul", "y"]])
def test_ids_that_fit_no_index_stay_in_the_json(tmp_path: Path, ids: list[str]) -> None:
    write_ids(tmp_path, ids)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["object_ids.json"]
    assert list(open_ids(tmp_path)) == ids


@pytest.mark.parametrize("content", ["{}", '["a", "a"]', "["])
def test_a_damaged_list_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "object_ids.json").write_text(content)
    with pytest.raises(ValueError, match=r"list of ids|different|Expecting"):
        open_ids(tmp_path)


def test_an_index_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    write_ids(tmp_path, ["a", "b", "c"])
    np.save(tmp_path / "object_order.npy", np.arange(2))
    with pytest.raises(ValueError, match="3 ids, 2 places"):
        open_ids(tmp_path)
