"""From prepared recordings to a head, its report, and the sounds of objects."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from lavis.common.registry import registry
from safetensors import safe_open

from lavis.datasets.fields.embeds import EmbedsLoader
from lavis.datasets.stores.packed_audio import write_audio
from lavis.models.teachers import embed_sounds, train_sound_head
from lavis.models.teachers.sound_features import sound_features

SPLITS = ("train", "val", "test", "held_out")
LABELS = ("telephone", "bird tweet", "gun shot")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A cache folder with twelve short sounds of three labels, a stamp, and four bricks."""
    monkeypatch.setitem(registry.mapping["paths"], "cache_root", str(tmp_path))
    rng = np.random.default_rng(0)
    clips, records = [], {split: [] for split in SPLITS}
    for row in range(12):
        name, split = f"sound_{row:03d}", SPLITS[row // 3]
        clips.append((name, rng.uniform(-0.5, 0.5, 1600).astype(np.float32)))
        label = LABELS[row % 3]
        record = {"object_id": name, "caption": [label, f"{label}, effects"], "split": split}
        records[split].append(record)
    silent = {"object_id": "sound_none", "caption": ["nothing"], "split": "train"}
    records["train"].append(silent)  # without a recording
    store(tmp_path / "sounds", clips, records)
    stamp = {"object_id": "stamp_animals.dog", "caption": "A dog.", "split": "train"}
    dog = [("stamp_animals.dog", clips[0][1][::-1])]
    store(tmp_path / "stamps", dog, {"train": [stamp]})
    names = ["Animal Dog Terrier", "Fabuland Telephone", "Plate 2 x 2", "Animal Bird Crow"]
    bricks = [
        {"object_id": str(k), "description": n, "split": "train"} for k, n in enumerate(names)
    ]
    annotate(tmp_path / "bricks", {"train": bricks})
    return tmp_path


def annotate(folder, records):
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for split, own in records.items():
        (folder / "annotations" / f"caption_{split}.json").write_text(json.dumps(own))


def store(folder, clips, records):
    annotate(folder, records)
    write_audio(folder, clips)


def test_the_commands_train_report_and_embed(root, tiny_bert, capsys):
    assert train_sound_head.main(["--text-teacher", tiny_bert, "--epochs", "2"]) == 0
    report = json.loads((root / "sound_teacher" / "head.json").read_text())
    assert set(report["held_out"]) == {"sounds/val", "sounds/test", "sounds/held_out"}
    part = report["held_out"]["sounds/test"]
    assert (part["sounds"], part["labels"]) == (3, 3)
    assert part["chance"]["recall_at_1"] == pytest.approx(1 / 3)
    for way in ("sound_to_text", "nearest_text"):
        low, high = part[way]["recall_at_1"]["ci95"]
        assert 0 <= low <= part[way]["recall_at_1"]["value"] <= high <= 1
    assert report["texts"] == 7  # two of each training sound, one of the stamp; none of silence

    assert embed_sounds.main(["--objects", "bricks"]) == 0
    assert "3 objects of 3 classes" in capsys.readouterr().out
    path = root / "sound_teacher" / "bricks.safetensors"
    loader = EmbedsLoader(path, "audio_embeds")
    assert loader.class_of == {"0": "dog", "1": "telephone", "3": "bird"}
    rng = np.random.default_rng(0)
    assert loader.load({"object_id": "2"}, rng) == {"audio_class": ""}
    sample = loader.load({"object_id": "0"}, rng)
    assert sample["audio_embeds"].shape == (1, 32)
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["clips"])[0] == "stamp_animals.dog"
        assert file.metadata()["space"] == loader.space


def test_features_are_computed_once(root, monkeypatch):
    folders, out = [root / "sounds"], root / "features.safetensors"
    ids, first = sound_features(folders, out)
    assert (len(ids), first.shape) == (12, (12, 512))
    monkeypatch.setattr("lavis.models.teachers.sound_features.SoundNetwork", None)
    assert torch.equal(sound_features(folders, out)[1], first)
    store(root / "sounds", [("sound_000", np.ones(1600, np.float32))], {})
    with pytest.raises(TypeError):  # other recordings: computed anew
        sound_features(folders, out)


def test_missing_recordings_heads_and_objects_are_named(root, tiny_bert, capsys):
    assert embed_sounds.main([]) == 1
    assert "train_sound_head" in capsys.readouterr().err
    (root / "sounds" / "audio.npy").unlink()
    assert train_sound_head.main(["--text-teacher", tiny_bert]) == 1
    assert "prepare_sounds" in capsys.readouterr().err
