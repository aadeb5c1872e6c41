"""Precomputed embeddings and the model that reads them, compared before anything is trained."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from lavis.common.errors import ConfigError, DataError
from lavis.datasets.fields.embeds import EmbedsLoader
from lavis.datasets.fields.openshape import OpenShapeImages, OpenShapeTexts
from lavis.datasets.stores.pickled_records import PickledRecordStore
from lavis.runners.embeds_check import check_embeds
from lavis.runners.parts import RunParts


@pytest.fixture
def loader(tmp_path):
    """Return a function (space) -> loader of the objects a and b."""

    def make(space="minilm@mean"):
        path = tmp_path / "views.safetensors"
        facts = {"ids": '["a", "b"]'} | ({} if space is None else {"space": space})
        save_file({"image_embeds": torch.zeros(2, 1, 4)}, path, facts)
        return EmbedsLoader(path)

    return make


def datasets(loader, *splits):
    """Return data sets `bricks0`, … with one split each that has the given objects."""
    return {
        f"bricks{n}": {
            "train": SimpleNamespace(
                annotation=[{"object_id": i} for i in ids], loaders=(object(), loader)
            )
        }
        for n, ids in enumerate(splits)
    }


def model(space="minilm@mean", modalities=("point", "image")):
    return SimpleNamespace(space=space, modalities=modalities)


def test_absent_objects_of_all_data_sets_are_counted_once(loader, caplog):
    with caplog.at_level(logging.WARNING):
        check_embeds(model(), datasets(loader(), "abx", "bxyx"))
    (record,) = caplog.records
    assert "2 of 4 objects have no views" in record.getMessage()
    assert "views.safetensors" in record.getMessage()


def test_complete_views_say_nothing(loader, caplog):
    check_embeds(model(), datasets(loader(), "ab", "a"))
    assert not caplog.records


@pytest.mark.parametrize("space", ["openclip/ViT-bigG-14", "bert:0123@mean"])
def test_another_space_is_refused_with_both_keys(loader, space):
    with pytest.raises(ConfigError) as caught:
        check_embeds(model(), datasets(loader(space), "ab"))
    message = str(caught.value)
    for part in ("model.space", "model.text_teacher", "datasets.bricks0.build_info.image_embeds"):
        assert part in message
    assert space in message
    assert "minilm@mean" in message


def test_unknown_spaces_and_models_without_images_pass(loader, caplog):
    check_embeds(model(), datasets(loader(None), "ab"))
    check_embeds(model(space=None), datasets(loader(), "ab"))
    check_embeds(model("other", ("point", "text")), datasets(loader(), "xy"))
    check_embeds(object(), {"plain": {"train": [1, 2]}})
    assert not caplog.records


def test_a_file_of_other_objects_is_refused(loader):
    with pytest.raises(DataError, match=r"bricks1\.build_info\.image_embeds"):
        check_embeds(model(), datasets(loader(), "ab", "xy"))


def test_a_run_is_refused_before_its_folder_exists(tiny, loader, tmp_path):
    tiny_model = tiny.Model()
    tiny_model.modalities, tiny_model.space = ("point", "image"), "other"
    data = tiny.Data(6)
    data.annotation, data.loaders = [{"object_id": "a"}], (loader(),)
    cfg = tiny.runner().parts.config
    with pytest.raises(ConfigError, match="different spaces"):
        RunParts(cfg, tiny.Task(), tiny_model, {"own": {"train": data}}, "refused")
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize("kind", ["texts", "images"])
def test_features_in_the_objects_files_of_another_space_are_refused(kind, tmp_path):
    store = PickledRecordStore(tmp_path, {"a": "a.npy"})
    space = "openclip/ViT-bigG-14"
    texts, images = OpenShapeTexts(store, str, space=space), OpenShapeImages(store, space=space)
    features = texts if kind == "texts" else images
    check_embeds(model(space), datasets(features, "a"))
    with pytest.raises(ConfigError, match=r"model\.space[\s\S]*build_info\.features"):
        check_embeds(model(), datasets(features, "a"))
