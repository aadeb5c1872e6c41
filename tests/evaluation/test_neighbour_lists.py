"""Neighbour lists of own embeddings and of OpenShape's release, and the runner that reads them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from lavis.common.errors import ConfigError
from lavis.evaluation.neighbour_lists import main, nearest_others
from lavis.runners.batching import read_neighbours
from tests.datasets.sources.trees import write_record


def on_circle(count: int) -> np.ndarray:
    angles = np.linspace(0, 1, count) ** 1.1  # no ties
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def lists(path: Path) -> dict[str, list[str]]:
    return read_neighbours(SimpleNamespace(batch_plan=str(path), length_buckets=0))


def test_neighbours_are_the_nearest_others() -> None:
    assert nearest_others(on_circle(5), 2).tolist() == [[1, 2], [0, 2], [1, 3], [2, 4], [3, 2]]


@pytest.mark.parametrize("count", [1, 3])
def test_of_equal_embeddings_none_is_its_own_neighbour(count: int) -> None:
    table = nearest_others(np.ones((6, 1, 4), np.float32) / 2, count)
    assert table.shape == (6, count)
    assert not (table == np.arange(6)[:, None]).any()
    assert all(len(set(row)) == count for row in table.tolist())


@pytest.mark.parametrize("count", [0, 6])
def test_a_wrong_number_names_its_option(count: int) -> None:
    with pytest.raises(ConfigError, match="--count"):
        nearest_others(on_circle(6), count)


def test_the_command_writes_what_training_reads(tmp_path: Path) -> None:
    embeds, out = tmp_path / "train_embeds.safetensors", tmp_path / "lists/neighbours.safetensors"
    facts = {"ids": json.dumps(["a", "b", "c"])}
    save_file({"point_embeds": on_circle(3)[:, None]}, embeds, facts)
    assert main(["--embeds", str(embeds), "--count", "1", "--out", str(out)]) == 0
    first = lists(out)
    assert first["a"] == ["b"]
    assert set(first) == {"a", "b", "c"}
    # Refreshed with later embeddings.
    save_file({"point_embeds": on_circle(3)[[0, 2, 1]][:, None]}, embeds, facts)
    assert main(["--embeds", str(embeds), "--count", "1", "--out", str(out)]) == 0
    assert lists(out)["a"] == ["c"]


def test_the_released_lists_leave_the_object_itself_out(tmp_path: Path) -> None:
    path, out = tmp_path / "point_feat_knn.npy", tmp_path / "neighbours.safetensors"
    index = {"a": np.array([0, 2, 1]), "b": np.array([1, 0, 2]), "c": np.array([2, 0, 1])}
    write_record(path, {"name": ["a", "b", "c"], "index": index})
    assert main(["--released", str(path), "--count", "2", "--out", str(out)]) == 0
    assert lists(out) == {"a": ["c", "b"], "b": ["a", "c"], "c": ["a", "b"]}


@pytest.mark.parametrize("source", ["--embeds", "--released"])
@pytest.mark.parametrize("content", [None, b"damage"])
def test_a_bad_file_is_named(source: str, content: bytes | None, tmp_path: Path, capsys) -> None:
    path = tmp_path / "some.file"
    if content is not None:
        path.write_bytes(content)
    assert main([source, str(path), "--out", str(tmp_path / "out")]) == 1
    assert "some.file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "facts"),
    [
        (np.zeros((2, 1), np.int32), {"ids": '["a"]'}),
        (np.full((1, 1), 7, np.int32), {"ids": '["a"]'}),
        (np.zeros((1, 1), np.int32), {}),
    ],
)
def test_lists_that_do_not_fit_name_the_key(tmp_path: Path, table, facts) -> None:
    path = tmp_path / "neighbours.safetensors"
    save_file({"neighbours": table}, path, facts)
    with pytest.raises(ConfigError, match=r"run\.batch_plan"):
        lists(path)
