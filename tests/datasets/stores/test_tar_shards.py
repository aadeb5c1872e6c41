"""Tar shards: the same clouds as elsewhere, hostile members refused."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest

from lavis.common.errors import DataError
from lavis.datasets.stores.tar_shards import TarShardStore, prepare_shards, write_shards


@pytest.fixture
def clouds():
    rng = np.random.default_rng(0)
    return {f"object{n}": rng.normal(size=(5 + n, 3)).astype(np.float32) for n in range(5)}


def test_clouds_come_back_from_several_shards(tmp_path, clouds):
    paths = write_shards(clouds.items(), tmp_path, per_shard=2)
    assert [path.name for path in paths] == [
        "shard-00000.tar",
        "shard-00001.tar",
        "shard-00002.tar",
    ]
    store = TarShardStore(paths)
    for object_id, cloud in clouds.items():
        assert np.array_equal(store.load(object_id), cloud)
    with pytest.raises(DataError, match="no member"):
        store.load("object9")


def test_an_id_in_two_shards_is_refused(tmp_path, clouds):
    first = write_shards(clouds.items(), tmp_path / "a", 5)
    second = write_shards(clouds.items(), tmp_path / "b", 5)
    with pytest.raises(DataError, match="the id is in"):
        TarShardStore(first + second)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("../up.npy", tarfile.REGTYPE), ("/abs.npy", tarfile.REGTYPE), ("a.npy", tarfile.SYMTYPE)],
)
def test_members_that_leave_the_folder_are_refused(tmp_path, name, kind):
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info, io.BytesIO())
    with pytest.raises(DataError, match=r"shard\.tar"):
        TarShardStore([path])


def test_a_cut_shard_is_refused(tmp_path, clouds):
    (path,) = write_shards(clouds.items(), tmp_path, 5)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DataError):
        TarShardStore([path])


def test_addresses_are_copied_once_and_paths_stay(tmp_path, clouds):
    pytest.importorskip("fsspec")
    (path,) = write_shards(clouds.items(), tmp_path / "store", 5)
    found = prepare_shards([f"file://{path}", str(path)], tmp_path / "cache")
    assert found[0].parent == tmp_path / "cache"
    assert found[0].name.endswith(f"-{path.name}")
    assert found[1] == path
    path.unlink()
    assert prepare_shards([f"file://{path}"], tmp_path / "cache") == found[:1]


def test_shards_of_one_name_at_several_addresses_are_several_files(tmp_path):
    pytest.importorskip("fsspec")
    addresses = []
    for place in ("train", "val", "train/more"):
        (path,) = write_shards([(place, np.ones((5, 3), "f4"))], tmp_path / place, 5)
        addresses.append(f"file://{path}")
    found = prepare_shards(addresses, tmp_path / "cache")
    assert [list(TarShardStore([path]).members) for path in found] == [
        ["train"],
        ["val"],
        ["train/more"],
    ]
