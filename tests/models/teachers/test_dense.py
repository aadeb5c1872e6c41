"""Maps of embeddings of images: EfficientNet-Lite0 with ConSE, and CLIP."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from lavis.common.errors import CheckpointError, ConfigError, ShapeError
from lavis.models.teachers import SentenceTeacher, text_teacher
from lavis.models.teachers.dense import DenseTeacher, FeatureMaps, dense_teacher, stages_of


@pytest.fixture(scope="module")
def conse() -> FeatureMaps:
    """The built-in teacher in MiniLM's space."""
    teacher = dense_teacher("conse", SentenceTeacher("minilm"))
    assert isinstance(teacher, FeatureMaps)
    return teacher


def vision_folder(folder: Path, kind: str, tiny_bert: str) -> str:
    """Write a tiny CLIP or SigLIP with a BERT's tokenizer; return its name as a teacher."""
    config_class, model_class = {
        "clip": (CLIPConfig, CLIPModel),
        "siglip": (SiglipConfig, SiglipModel),
    }[kind]
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2}
    sizes |= {"num_hidden_layers": 2}
    vision = sizes | {"image_size": 32, "patch_size": 8}
    config = config_class(text_config=sizes, vision_config=vision)
    torch.manual_seed(0)
    model_class(config).save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        if (Path(tiny_bert) / file).exists():
            shutil.copy(Path(tiny_bert) / file, folder)
    return f"{kind}:{folder}"


def photo(height: int = 64, width: int = 96) -> Tensor:
    """Return a smooth picture [1,3,H,W]: left red, right green."""
    picture = torch.zeros(1, 3, height, width)
    picture[:, 0, :, : width // 2] = 0.8
    picture[:, 1, :, width // 2 :] = 0.8
    return picture


def test_the_map_is_conse_at_every_place(conse):
    images = photo()
    maps = conse(images)
    assert maps.embeds.shape == (1, 384, 2, 3)
    assert [tuple(stage.shape[1:]) for stage in maps.stages] == [
        (24, 16, 24),
        (40, 8, 12),
        (112, 4, 6),
    ]
    assert conse.stage_dims == (24, 40, 112)
    features = conse.teacher.network.dense(images)
    expected = conse.teacher.from_features(features[:, :, 1, 2])
    torch.testing.assert_close(maps.embeds[:, :, 1, 2], expected)
    torch.testing.assert_close(maps.embeds.norm(dim=1), torch.ones(1, 2, 3))


def test_stages_end_in_the_features_of_the_network(conse):
    network = conse.teacher.network
    torch.testing.assert_close(stages_of(network, photo())[0], network.dense(photo()))


@pytest.mark.parametrize(("scale", "cells"), [(0.5, (1, 1)), (1.0, (2, 3)), (2.0, (4, 6))])
def test_larger_images_have_more_cells(conse, scale, cells):
    teacher = FeatureMaps(conse.teacher, scale)
    assert teacher(photo(60, 90)).embeds.shape[2:] == cells


def test_a_dense_teacher_stays_frozen(conse):
    assert not any(p.requires_grad for p in conse.parameters())
    nn.Sequential(conse).train()
    assert not any(module.training for module in conse.modules())
    assert not conse(photo()).embeds.requires_grad


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_clip_embeds_patches_without_mixing_them(tmp_path, tiny_bert, scale):
    name = vision_folder(tmp_path, "clip", tiny_bert)
    texts = text_teacher(name, "model.text_teacher")
    teacher = dense_teacher(name, texts, scale)
    assert teacher.space == texts.space
    maps = teacher(photo())
    side = round(4 * scale)
    assert maps.embeds.shape == (1, texts.embed_dim, side, side)
    assert maps.stages[0].shape == (1, 16, side, side)
    torch.testing.assert_close(maps.embeds.norm(dim=1), torch.ones(1, side, side))


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 4, 8, 8), (0, 3, 8, 8)])
def test_other_shapes_are_refused(conse, shape):
    with pytest.raises(ShapeError, match="images have another shape"):
        conse(torch.zeros(shape))


def test_teachers_that_do_not_fit_are_refused(tmp_path, tiny_bert):
    minilm = SentenceTeacher("minilm")
    for name in ("clip", "siglip"):
        (tmp_path / name).mkdir()
    clip = vision_folder(tmp_path / "clip", "clip", tiny_bert)
    siglip = vision_folder(tmp_path / "siglip", "siglip", tiny_bert)
    with pytest.raises(ConfigError, match="one space"):
        dense_teacher(clip, minilm)
    with pytest.raises(ConfigError, match=r"(?s)no map of embeddings.*SiglipModel"):
        dense_teacher(siglip, text_teacher(siglip, "model.text_teacher"))
    with pytest.raises(ConfigError, match="ConSE needs a sentence encoder"):
        dense_teacher("conse", text_teacher(clip, "model.text_teacher"))
    with pytest.raises(CheckpointError, match="nowhere"):
        dense_teacher("/nowhere/head.safetensors", minilm)


def test_the_base_class_names_what_is_missing():
    with pytest.raises(TypeError, match="dense"):
        DenseTeacher()(torch.zeros(1, 3, 8, 8))
