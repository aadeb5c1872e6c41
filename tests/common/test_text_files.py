"""Text files of users are read with and without a byte-order mark."""

import json
import re

import pytest

from lavis.common.text_files import read_json, read_text

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16")
# What these read, this project or an installed package wrote: pages, caches, logs, locks.
OWN_FILES = {
    "_build.py",
    "common/checkpoint.py",
    "common/folder_owner.py",
    "common/text_files.py",
    "common/watchdog.py",
    "datasets/download_scripts/bricks_files.py",
    "datasets/download_scripts/bricks_meshes.py",
    "datasets/manifest.py",
    "datasets/stores/cloud_check.py",
    "datasets/viewer/page.py",
    "evaluation/java_metrics.py",
    "evaluation/judge.py",
    "evaluation/leaderboard.py",
    "evaluation/training_cost.py",
    "evaluation/report/page.py",
    "evaluation/tables.py",
    "evaluation/ability_table.py",
    "models/point_llm_contrastive_models/token_cache.py",
    "runners/loss_curve.py",
    "tasks/alignment_compare.py",
    "tasks/alignment_pictures.py",
    "common/threads.py",
    "stock.py",
    "tasks/alignment_runs.py",
    "tasks/alignment_words.py",
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_mark_is_no_part_of_the_text(tmp_path, encoding):
    path = tmp_path / "caption.txt"
    path.write_bytes("ein grüner Stuhl\r\nzwei\n".encode(encoding))
    assert read_text(path) == "ein grüner Stuhl\nzwei\n"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_is_read_with_a_mark(tmp_path, encoding):
    path = tmp_path / "captions.json"
    path.write_bytes(json.dumps({"a": "Stühle"}, ensure_ascii=False).encode(encoding))
    assert read_json(path) == {"a": "Stühle"}


def test_bytes_that_are_no_text_are_a_value_error(tmp_path):
    path = tmp_path / "cloud.txt"
    path.write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(ValueError, match="utf-8"):
        read_text(path)


def test_files_of_users_are_read_by_this_helper(repo_root):
    package = repo_root / "lavis"
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"\.read_text\(", path.read_text(encoding="utf-8"))
    }
    assert found <= OWN_FILES


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_recipes_annotations_and_uid_lists_may_have_a_mark(tmp_path, encoding):
    from lavis.config.sources import load_yaml
    from lavis.datasets.datasets.annotations import read_annotation
    from lavis.datasets.sources.objaverse_files import read_captions, read_ids
    from lavis.evaluation.prompt_sets import class_names

    def write(name: str, text: str):
        (tmp_path / name).write_bytes(text.encode(encoding))
        return tmp_path / name

    assert load_yaml(write("a.yaml", "run:\n  seed: 1\n"), "--cfg-path").run.seed == 1
    assert read_annotation([write("a.json", '[{"object_id": "a"}]')]) == [{"object_id": "a"}]
    assert read_captions(write("c.json", '{"a": "ä"}'), "key") == {"a": "ä"}
    assert read_ids(write("ids.txt", "a\r\nb\r\n"), "key") == ["a", "b"]
    assert class_names(str(write("t.txt", "chair\nfire_truck\n"))) == ["chair", "fire truck"]
