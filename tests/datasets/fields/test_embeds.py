"""Files of embeddings that `build_info` names, and objects with sounds named several times."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lavis.common.errors import ConfigError, DataError
from lavis.datasets.fields.embeds import EmbedsLoader, embeds_loaders, repeat_sounding
from lavis.datasets.samples import collate

KEY = "datasets.x.build_info.{}".format


@pytest.fixture
def sounds(tmp_path):
    path = tmp_path / "sounds.safetensors"
    facts = {"ids": '["a", "b"]', "classes": '["dog", "bell"]', "space": "minilm"}
    save_file({"audio_embeds": torch.eye(2)[:, None]}, path, facts)
    return path


def test_a_batch_of_objects_with_and_without_sounds(sounds):
    loader, rng = EmbedsLoader(sounds, "audio_embeds"), np.random.default_rng(0)
    batch = collate([loader.load({"object_id": name}, rng) for name in "axb"])
    assert batch["audio_class"] == ["dog", "", "bell"]
    assert batch["audio_embeds_mask"].tolist() == [[True], [False], [True]]
    assert torch.equal(batch["audio_embeds"][[0, 2], 0], torch.eye(2))
    assert set(collate([loader.load({"object_id": "x"}, rng)] * 2)) == {"audio_class"}


def test_build_info_names_files_and_a_missing_one_names_the_command(sounds, tmp_path):
    views = tmp_path / "views.safetensors"
    save_file({"image_embeds": torch.zeros(1, 2, 4)}, views, {"ids": '["a"]'})
    found = embeds_loaders({"image_embeds": str(views), "audio_embeds": str(sounds)}, KEY)
    assert [loader.name for loader in found] == ["image_embeds", "audio_embeds"]
    assert embeds_loaders({"image_embeds": None}, KEY) == ()
    absent = str(tmp_path / "absent")
    for name, command in [("image_embeds", "embed_views"), ("audio_embeds", "embed_sounds")]:
        with pytest.raises(DataError, match=rf"x\.build_info\.{name}[\s\S]*{command}"):
            embeds_loaders({name: absent}, KEY)


def test_classes_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "sounds.safetensors"
    facts = {"ids": '["a", "b"]', "classes": json.dumps(["dog"])}
    save_file({"audio_embeds": torch.zeros(2, 1, 4)}, path, facts)
    with pytest.raises(DataError, match="names differ"):
        EmbedsLoader(path, "audio_embeds")


def test_objects_with_sounds_are_named_several_times(sounds):
    entries = [{"object_id": name, "instance_id": name} for name in "xa"]
    loaders = [object(), EmbedsLoader(sounds, "audio_embeds")]
    repeated = repeat_sounding(entries, loaders, {"audio_repeats": 3}, KEY("audio_repeats"))
    assert [entry["instance_id"] for entry in repeated] == ["x", "a", "a#1", "a#2"]
    assert repeat_sounding(entries, (), {}, "") == entries
    for times, own in [(0, loaders), (1.5, loaders), (2, ())]:
        with pytest.raises(ConfigError, match="audio_repeats"):
            repeat_sounding(entries, own, {"audio_repeats": times}, KEY("audio_repeats"))
