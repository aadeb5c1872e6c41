"""CLIP and SigLIP by name: both modalities in one space, cached by content, no network."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lavis.common.errors import CheckpointError, DependencyError, ShapeError
from lavis.datasets.fields.embeds import EmbedsLoader
from lavis.datasets.rendering.view_store import ViewWriter, encode_png
from lavis.models.mixcon3d_models.config import Mixcon3dConfig
from lavis.models.mixcon3d_models.mixcon3d import MixCon3D
from lavis.models.teachers import SentenceTeacher, text_teacher
from lavis.models.teachers.clip import ClipTeacher
from lavis.models.teachers.embed_views import main

TINY = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


@pytest.fixture(scope="session", params=["clip", "siglip"])
def name(request, tmp_path_factory, tiny_bert) -> str:
    """A tiny model of each kind with a BERT's tokenizer."""
    from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

    folder = tmp_path_factory.mktemp(request.param)
    for file in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(Path(tiny_bert) / file, folder)
    text = TINY | {"vocab_size": 30522, "max_position_embeddings": 12, "projection_size": 16}
    vision = TINY | {"image_size": 8, "patch_size": 4}
    torch.manual_seed(0)
    kinds = {"clip": (CLIPConfig, CLIPModel), "siglip": (SiglipConfig, SiglipModel)}
    config_class, model_class = kinds[request.param]
    options = {"projection_dim": 16} if request.param == "clip" else {}
    config = config_class(text_config=text, vision_config=vision, **options)
    model_class(config).save_pretrained(folder)
    return f"{request.param}:{folder}"


@pytest.fixture(scope="session")
def teacher(name: str) -> ClipTeacher:
    return ClipTeacher(name)


def test_texts_and_images_are_unit_vectors_of_one_width(teacher: ClipTeacher) -> None:
    texts = teacher(["a red chair", "a table", "a red chair"])
    images = teacher.embed_images(torch.rand(2, 3, 9, 12))
    assert texts.shape == (3, 16)
    assert images.shape == (2, teacher.embed_dim)
    for embeds in (texts, images):
        assert torch.allclose(embeds.norm(dim=1), torch.ones(len(embeds)), atol=1e-5)
    assert torch.equal(texts[0], texts[2])
    assert not any(p.requires_grad for p in teacher.parameters())


def test_padding_of_a_batch_does_not_change_a_text(teacher: ClipTeacher) -> None:
    alone = teacher.encode(["a table"])
    beside = teacher.encode(["a table", "a very long description of a red chair"])[:1]
    assert torch.allclose(alone, beside, atol=1e-5)


def test_images_are_embedded_once_by_their_content(teacher: ClipTeacher) -> None:
    images = torch.rand(3, 3, 8, 8)
    first = teacher.embed_images(images)
    calls = []
    handle = teacher.tower.register_forward_pre_hook(lambda *_: calls.append(1))
    kept = teacher.tower.images
    teacher.tower.images = lambda batch: calls.append(len(batch)) or kept(batch)
    again = teacher.embed_images(torch.cat([images.clone(), images[:1] + 1e-3]))
    teacher.tower.images = kept
    handle.remove()
    assert calls == [1]
    assert torch.equal(first, again[:3])


def test_a_space_is_named_by_the_weights(name: str, tmp_path: Path) -> None:
    kind, _, folder = name.partition(":")
    moved = tmp_path / Path(folder).name
    shutil.copytree(folder, moved)
    assert ClipTeacher(f"{kind}:{moved}").space == ClipTeacher(name).space


def test_a_model_embeds_the_images_of_a_batch_with_its_text_teacher(name: str) -> None:
    small = {"name": "point_bert", "trans_dim": 24, "depth": 1, "num_heads": 2, "group_size": 4}
    small |= {"num_group": 4, "encoder_dims": 16, "stem_dims": [8, 16, 16]}
    config = Mixcon3dConfig(embed_dim=16, text_teacher=name, point_encoder=small)
    model = MixCon3D(config).eval()
    batch = {
        "point_cloud": torch.rand(2, 32, 3),
        "image": torch.rand(2, 3, 3, 8, 8),
        "image_mask": torch.tensor([[True, True, False], [False, False, False]]),
        "text_input": ["a chair", "a table"],
        "instance_id": ["a", "b"],
    }
    losses = model(batch)
    assert torch.isfinite(losses["loss"])
    assert model.encode(batch).embeds["has_image"].tolist() == [1, 0]


def test_views_are_embedded_by_a_named_teacher_for_the_same_model(name: str, tmp_path) -> None:
    views, pixels = tmp_path / "views.zip", np.zeros((8, 8, 3), np.uint8)
    with ViewWriter(views) as file:
        file.add("a", [encode_png(pixels), encode_png(pixels + 200)])
    assert main(["--views", str(views), "--teacher", name]) == 0
    loader = EmbedsLoader(tmp_path / f"views.{name.partition(':')[0]}.safetensors")
    teacher = ClipTeacher(name)
    expected = teacher.embed_images(torch.full((1, 3, 8, 8), 200 / 255))[0]
    found = loader.load({"object_id": "a"}, np.random.default_rng(0))["image_embeds"]
    assert loader.space == teacher.space
    assert torch.allclose(found[1], expected, atol=1e-3)


@pytest.mark.parametrize("wrong", [["minilm"], ["clip:x", "--head", "h"]])
def test_another_name_of_a_teacher_is_refused(wrong: list[str], capsys) -> None:
    with pytest.raises(SystemExit):
        main(["--views", "views.zip", "--teacher", *wrong])
    assert "--teacher" in capsys.readouterr().err


def test_names_without_a_prefix_are_sentence_encoders(tiny_bert: str) -> None:
    assert isinstance(text_teacher(tiny_bert, "model.text_teacher"), SentenceTeacher)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
@pytest.mark.parametrize("absent", ["/nowhere/clip", "openai/absent-clip-of-a-hub"])
def test_a_teacher_that_needs_the_network_names_its_key(kind: str, absent: str) -> None:
    with pytest.raises(CheckpointError, match=r"model\.text_teacher"):
        text_teacher(f"{kind}:{absent}", "model.text_teacher")


def test_a_model_of_texts_alone_is_refused(tiny_bert: str) -> None:
    with pytest.raises(CheckpointError, match="no model of texts and images"):
        ClipTeacher(f"clip:{tiny_bert}")


def test_open_clip_is_an_extra() -> None:
    with pytest.raises((DependencyError, CheckpointError), match=r"model\.text_teacher"):
        text_teacher("open_clip:ViT-B-32@/nowhere.bin", "model.text_teacher")


def test_other_shapes_are_refused(teacher: ClipTeacher) -> None:
    with pytest.raises(ShapeError, match=r"\[B,3,H,W\]"):
        teacher.embed_images(torch.rand(2, 1, 8, 8))
