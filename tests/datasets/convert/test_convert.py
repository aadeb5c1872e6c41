"""The whole conversion: what the folder holds, the same bytes each time, resuming, bad input."""

from __future__ import annotations

import errno
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lavis.common import files as common_files
from lavis.common.errors import ConfigError, DataError, StorageError
from lavis.datasets.convert.convert import Options, convert
from lavis.datasets.convert.engines import in_processes, in_this_process
from lavis.datasets.manifest import verify_manifest
from lavis.datasets.stores.packed_fields import PackedFieldStore
from lavis.datasets.stores.tar_shards import TarShardStore


def load(folder: Path, name: str):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_the_folder_holds_points_texts_and_facts(meshes: Path, captions: Path, run) -> None:
    folder = run(meshes, captions)
    manifest, facts = verify_manifest(folder, full=True), load(folder, "geometry.json")
    assert manifest["counts"]["objects"] == 25
    assert manifest["kind"] == "own objects"
    store = PackedFieldStore(folder / "points")
    assert list(store.row_of) == load(folder, "object_ids.json") == sorted(facts)
    fields = store.load_points("o0")
    assert set(fields) == {"xyz", "rgb"}
    assert (fields["rgb"] == [1, 0, 0]).all()
    assert store.scale("o0") == pytest.approx(facts["o0"]["scale"])
    extent = np.ptp(fields["xyz"], axis=0) * store.scale("o0")
    np.testing.assert_allclose(extent, facts["o0"]["size"], rtol=0.3)
    splits = Counter(fact["split"] for fact in facts.values())
    for kind, count in (("captions", 25), ("qa", 24), ("classes", 25)):
        records = {
            s: load(folder, f"annotations/{kind}_{s}.json") for s in ("train", "val", "test")
        }
        assert sum(map(len, records.values())) == count
        if kind != "qa":
            assert {split: len(of) for split, of in records.items()} == {
                split: splits[split] for split in records
            }
    named = {
        r["object_id"]: r for s in records for r in load(folder, f"annotations/captions_{s}.json")
    }
    assert named["o1"]["caption"] == ["a ball", "ball 1"]
    assert named["o1"]["category"] == "ball"
    assert named["more/o18"]["caption"] == ["a cylinder", "cylinder 18"]
    assert load(folder, "classes.json")["class_names"] == [
        *("ball", "box", "cylinder", "square", "torus"),
    ]
    report = load(folder, "report.json")
    assert report["skipped_files"] == {}
    assert "y is up in 4 .glb" in report["check"][0]


def test_the_bytes_depend_on_the_input_alone(
    meshes: Path, captions: Path, run, tmp_path: Path, files_of
) -> None:
    expected = files_of(run(meshes, captions))
    options = Options(meshes, captions, num_points=64)
    convert(options, tmp_path / "two", lambda pieces: in_processes(pieces, 2), False)
    convert(options, tmp_path / "back", lambda pieces: in_this_process(pieces[::-1]), False)
    assert files_of(tmp_path / "two") == expected
    assert files_of(tmp_path / "back") == expected
    moved = tmp_path / "elsewhere" / "meshes"
    shutil.copytree(meshes, moved)
    assert files_of(run(moved, captions, "moved")) == expected


def test_an_interrupted_conversion_goes_on(meshes: Path, captions: Path, run, files_of) -> None:
    expected, tmp_path = run(meshes, captions), run(meshes, captions).parent
    options = Options(meshes, captions, num_points=64)
    converted = []

    def interrupted(pieces):
        for number, done in enumerate(in_this_process(pieces)):
            if number == 1:
                raise KeyboardInterrupt
            yield done

    def counted(pieces):
        converted.extend(job.object_id for piece in pieces for job in piece.jobs)
        return in_this_process(pieces)

    with pytest.raises(KeyboardInterrupt):
        convert(options, tmp_path / "again", interrupted, False)
    assert not (tmp_path / "again").exists()
    convert(options, tmp_path / "again", counted, False)
    assert len(converted) == 25 - 16
    assert files_of(tmp_path / "again") == files_of(expected)
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_damaged_work_is_done_again(meshes: Path, captions: Path, run, files_of) -> None:
    expected = run(meshes, captions)
    target = expected.parent / "again"

    def damaging(pieces):
        yield from in_this_process(pieces)
        path = sorted((target.parent / ".again.partial").glob("*.npz"))[0]
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    options = Options(meshes, captions, num_points=64)
    with pytest.raises(DataError, match="damaged"):
        convert(options, target, damaging, False)
    assert not target.exists()
    convert(options, target, in_this_process, False)
    assert files_of(target) == files_of(expected)


def test_a_finished_folder_is_left_and_another_one_is_not_overwritten(
    meshes: Path, captions: Path, run, files_of, tmp_path: Path
) -> None:
    folder = run(meshes, captions)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    run(meshes, captions)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    with pytest.raises(DataError, match="other parameters"):
        run(meshes, captions, num_points=32)
    with pytest.raises(DataError, match="other table_sha256"):
        run(meshes)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(DataError):
        run(meshes, captions, "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()


@pytest.mark.parametrize("name", ["out", "."])
def test_a_target_in_the_source_is_refused(tmp_path: Path, name: str) -> None:
    cloud(tmp_path / "a.npy")
    with pytest.raises(ConfigError, match="--out"):
        convert(Options(tmp_path), tmp_path / name, in_this_process, False)


def test_shards_hold_the_same_clouds(meshes: Path, captions: Path, run) -> None:
    folder = run(meshes, captions, shard_size=10)
    shards = sorted((folder / "shards").iterdir())
    assert [path.name for path in shards] == [f"shard-0000{n}.tar" for n in range(3)]
    tar, packed = TarShardStore(shards), PackedFieldStore(folder / "points")
    assert set(tar.members) == set(packed.row_of)
    for name in ("o0", "more/o18"):
        expected = packed.load(name)
        expected[:, :3] *= packed.scale(name)
        np.testing.assert_allclose(tar.load(name), expected, rtol=1e-5, atol=1e-6)


def cloud(path: Path, seed: int = 0, colors: bool = False) -> None:
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, rng.random((40, 6 if colors else 3)))


def test_repeated_objects_are_left_out_and_their_texts_are_kept(tmp_path: Path, run) -> None:
    source = tmp_path / "in"
    for name in ("b10", "b9", "copy/b9"):
        cloud(source / f"{name}.npy")
    cloud(source / "other.npy", 1)
    table = tmp_path / "t.json"
    texts = {"b10": "ten", "copy/b9": ["nine", "ten"], "other": "o", "ghost": "g"}
    table.write_text(json.dumps(texts))
    folder = run(source, table)
    report = load(folder, "report.json")
    assert report["duplicates"] == {"b10": "b9", "copy/b9": "b9"}
    assert report["table"]["texts_without_object"] == ["ghost"]
    records = [
        r for s in ("train", "val", "test") for r in load(folder, f"annotations/captions_{s}.json")
    ]
    assert {r["object_id"]: r["caption"] for r in records} == {
        "b9": ["ten", "nine"],
        "other": ["o"],
    }


def test_a_recoloured_or_resized_object_stays_in_the_split_of_its_shape(
    tmp_path: Path, run
) -> None:
    source = tmp_path / "in"
    for number in range(30):
        cloud(source / f"o{number}.npy", number)
        xyz = np.load(source / f"o{number}.npy")
        np.save(source / f"big{number}.npy", 2 * xyz)
        np.save(source / f"red{number}.npy", np.concatenate([xyz, xyz * 0 + [1, 0, 0]], 1))
    facts = load(run(source, test=0.3, val=0.3), "geometry.json")
    assert len(facts) == 90
    for number in range(30):
        assert len({facts[f"{name}{number}"]["split"] for name in ("o", "big", "red")}) == 1


def test_bad_files_among_good_ones_are_named(tmp_path: Path, run) -> None:
    source = tmp_path / "in"
    cloud(source / "good.npy")
    cloud(source / "twice.npy", 1)
    shutil.copy(source / "twice.npy", source / "twice.xyz")
    (source / "cut.ply").write_text("ply\nformat ascii 1.0\nelement vertex 3\n")
    (source / "code.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    (source / "empty.obj").write_bytes(b"")
    (source / "a.zip").write_bytes(b"PK")
    (source / "notes.md").write_text("hello")
    table = tmp_path / "t.csv"
    table.write_text("id,caption\ngood,a thing\ncut,another\n")
    report = load(run(source, table), "report.json")
    assert set(report["skipped_files"]) == {
        *("a.zip", "code.pkl", "cut.ply", "empty.obj", "twice.xyz"),
    }
    assert "never run" in report["skipped_files"]["code.pkl"]
    assert report["other_files"] == {".md": 1}
    assert report["table"]["objects_without_text"] == ["twice"]


def test_each_file_has_its_own_range_of_colours(tmp_path: Path, run) -> None:
    source, rng = tmp_path / "in", np.random.default_rng(0)
    source.mkdir()
    xyz, rgb = rng.random((2, 40, 3))
    np.save(source / "unit.npy", np.concatenate([xyz, rgb], 1))
    np.save(source / "bytes.npy", np.concatenate([xyz * [1, 2, 1], np.rint(255 * rgb)], 1))
    np.savez(source / "uint8.npz", xyz=xyz * [1, 1, 2], rgb=np.rint(255 * rgb).astype(np.uint8))
    np.save(source / "wrong.npy", np.concatenate([xyz * [2, 1, 1], 700 * rgb - 50], 1))
    folder = run(source)
    store, report = PackedFieldStore(folder / "points"), load(folder, "report.json")
    for name in ("unit", "bytes", "uint8"):
        found = store.load_points(name)["rgb"]
        assert np.sort(found.ravel()) == pytest.approx(np.sort(rgb.ravel()), abs=3e-3)
    assert "colours from -4" in report["skipped_files"]["wrong.npy"]
    assert set(report["notes"]["bytes"]) == {"bytes.npy", "uint8.npz"}


def test_a_folder_of_bad_files_alone_is_an_error_with_reasons(tmp_path: Path, run) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.obj").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.obj: an empty file"):
        run(source)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("after", [0, 1, 3, 5, 8, 13])
def test_a_full_disk_stops_with_the_file_and_keeps_the_work(
    meshes: Path, captions: Path, run, files_of, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    expected = run(meshes, captions)
    target, fsync, left = expected.parent / "full", common_files.os.fsync, [after]

    def full(handle: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    options = Options(meshes, captions, num_points=64)
    with monkeypatch.context() as patch:
        patch.setattr(common_files.os, "fsync", full)
        with pytest.raises(StorageError, match="No space left"):
            convert(options, target, in_this_process, False)
    assert not target.exists()
    convert(options, target, in_this_process, False)
    assert files_of(target) == files_of(expected)


@pytest.mark.parametrize(
    "options",
    [{"num_points": 0}, {"up": "x"}, {"val": 1.0}, {"val": 0.5, "test": 0.5}, {"seed": -1}],
)
def test_options_out_of_range_are_refused(tmp_path: Path, options) -> None:
    with pytest.raises(ConfigError, match=f"--{next(iter(options)).split('_')[0]}|--test"):
        Options(tmp_path, **options)
