"""Files of a folder and the names of its objects."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lavis.common.errors import DataError
from lavis.datasets.convert.scan import find, names_of, scan


def touch(folder: Path, *names: str | bytes) -> None:
    for name in names:
        path = Path(os.fsdecode(os.path.join(os.fsencode(folder), os.fsencode(name))))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_objects_are_named_by_their_path(tmp_path: Path) -> None:
    touch(tmp_path, "b.PLY", "a/c.glb", "a/c.mtl", "a/skin.png", ".hidden.ply", ".git/x.ply")
    found = scan(tmp_path)
    assert found.objects == {"a/c": "a/c.glb", "b": "b.PLY"}
    assert found.others == {".mtl": 1, ".png": 1}
    assert found.skipped == {}


def test_what_is_not_read_is_named_with_the_reason(tmp_path: Path) -> None:
    touch(tmp_path, "a.ply", "a.obj", "b.fbx", "c.zip", b"caf\xe9.ply")
    os.mkfifo(tmp_path / "pipe.ply")
    (tmp_path / "gone.ply").symlink_to("nowhere")
    found = scan(tmp_path)
    assert found.objects == {"a": "a.obj"}
    assert "id a is that of a.obj" in found.skipped["a.ply"]
    assert "export it as .glb" in found.skipped["b.fbx"]
    assert "unpack it first" in found.skipped["c.zip"]
    assert "not UTF-8" in found.skipped["caf\\udce9.ply"]
    assert found.skipped["pipe.ply"] == found.skipped["gone.ply"] == "no regular file"


def test_the_table_in_the_folder_is_no_cloud(tmp_path: Path) -> None:
    touch(tmp_path, "a.ply", "captions.csv")
    assert scan(tmp_path, tmp_path / "captions.csv").objects == {"a": "a.ply"}


@pytest.mark.parametrize("names", [(), ("a.fbx",), ("a.png", "b.png")])
def test_a_folder_without_objects_is_refused(tmp_path: Path, names) -> None:
    touch(tmp_path, *names)
    with pytest.raises(DataError, match=r"no mesh or cloud(.|\n)*\.glb"):
        scan(tmp_path)


def test_a_missing_folder_and_a_file_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.ply")
    for path, got in ((tmp_path / "no", "missing"), (tmp_path / "a.ply", "a file")):
        with pytest.raises(DataError, match=got):
            scan(path)


def test_tables_may_call_an_object_by_path_file_or_folder() -> None:
    objects = {"x/one": "x/one.glb", "y/two": "y/two.glb", "z/3/model": "z/3/model.obj"}
    objects["w/model"] = "w/model.obj"
    names = names_of(objects)
    for name in ("x/one", "x/one.glb", "one", "one.glb", "x", "./x/one.glb", " x\\one.glb "):
        assert find(name, objects, names) == {"x/one"}, name
    assert find("3", objects, names) == find("z/3", objects, names) == {"z/3/model"}
    assert find("model", objects, names) == {"w/model", "z/3/model"}
    assert find("four", objects, names) == set()
