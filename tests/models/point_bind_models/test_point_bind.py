"""Point-Bind: three terms, absent modalities, templates, the head, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lavis.common.errors import ConfigError, DataError
from lavis.models.point_bind_models.joint_head import JointHead


@pytest.fixture
def make(model_sections, build_model):
    def build(**options: Any):
        model_sections["point_bind"] |= options
        return build_model("point_bind").eval()

    return build


def symmetric(a: torch.Tensor, b: torch.Tensor, scale: float = 1 / 0.07) -> torch.Tensor:
    logits, labels = scale * a @ b.T, torch.arange(len(a))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def test_the_loss_is_the_sum_of_three_contrasts(make, batch):
    model = make()
    batch["audio_embeds_mask"][1] = False
    output = model(batch)
    point, text = model.embed(batch, "point"), model.embed_texts(batch["text_input"])
    views = F.normalize(F.normalize(batch["image_embeds"], dim=-1).mean(1), dim=-1)
    heard = batch["audio_embeds_mask"]
    audio = F.normalize(batch["audio_embeds"], dim=-1)
    expected = {
        "loss_point_text": symmetric(point, text),
        "loss_point_image": symmetric(point, views),
        "loss_point_audio": symmetric(point[heard], audio[heard]),
    }
    for name, value in expected.items():
        torch.testing.assert_close(output[name], value)
    torch.testing.assert_close(output["loss"], sum(expected.values()))


def test_a_batch_without_sounds_has_no_audio_term(make, batch):
    batch.pop("audio_embeds")
    batch.pop("audio_embeds_mask")
    output = make()(batch)
    assert output["loss_point_audio"] == 0
    output["loss"].backward()


def test_sounds_of_one_class_are_positives_of_each_other(make, batch):
    """Two items with the same sound cannot be told apart: neither is a negative of the other."""
    model = make(positives="text")
    same = {"audio_embeds": batch["audio_embeds"][:1].expand(4, -1).clone()}
    alone = model(batch | same)["loss_point_audio"]
    known = model(batch | same | {"audio_class": ["dog"] * 4})["loss_point_audio"]
    torch.testing.assert_close(alone, known)  # log 4 of equal logits, whatever is right
    classes = {"audio_class": ["dog", "dog", "bell", ""]}
    assert not torch.allclose(
        model(batch | classes)["loss_point_audio"], model(batch)["loss_point_audio"]
    )


def test_a_weight_of_zero_leaves_a_term_out(make, batch):
    output = make(audio=0.0, image=0.5)(batch)
    assert "loss_point_audio" not in output
    expected = output["loss_point_text"] + 0.5 * output["loss_point_image"]
    torch.testing.assert_close(output["loss"], expected)
    with pytest.raises(ConfigError):
        make(audio=0.0, image=0.0, text=0.0)


def test_texts_are_the_mean_of_their_templates(make):
    model = make(text_templates=["{}", "a photo of a {}"])
    parts = [model.text_teacher([text]) for text in ("chair", "a photo of a chair")]
    expected = F.normalize(torch.stack(parts).mean(0), dim=-1)
    torch.testing.assert_close(model.embed_texts(["chair"]), expected)


def test_templates_may_be_a_set_by_name_or_a_file(make, tmp_path):
    assert len(set(make(text_templates=["ensemble64"]).templates)) == 64
    release = tmp_path / "templates.json"
    release.write_text('{"modelnet40_64": ["one {}.", "the {}"]}')
    model = make(text_templates=[str(release)])
    assert model.templates == ("one {}.", "the {}")
    parts = [model.text_teacher([text]) for text in ("one chair.", "the chair")]
    expected = F.normalize(torch.stack(parts).mean(0), dim=-1)
    torch.testing.assert_close(model.embed_texts(["chair"]), expected)


def test_text_embeddings_may_come_with_the_batch(make, batch):
    model = make(text_teacher=None, space="imagebind")
    assert model.space == "imagebind"
    embeds = torch.randn(4, 32)
    given = batch | {"text_embeds": embeds}
    torch.testing.assert_close(model.embed(given, "text"), F.normalize(embeds, dim=-1))
    with pytest.raises(ConfigError, match=r"model\.text_teacher"):
        model(batch)


@pytest.mark.parametrize("modality", ["point", "image", "text", "audio"])
def test_embeddings_are_unit(make, batch, modality):
    embeds = make().embed(batch, modality)
    assert embeds.shape == (4, 32)
    torch.testing.assert_close(embeds.norm(dim=-1), torch.ones(4))


def test_an_item_without_the_modality_is_named(make, batch):
    batch["audio_embeds_mask"][1] = False
    with pytest.raises(DataError, match=r"audio[\s\S]*'b'"):
        make().embed(batch, "audio")


def test_embeddings_of_another_width_are_refused(make, batch):
    with pytest.raises(DataError, match=r"image_embeds[\s\S]*embed_dim=16"):
        make()(batch | {"image_embeds": torch.randn(4, 2, 16)})


@pytest.mark.parametrize("templates", [[], ["no such set"], ["{} and {}"], ["{}", "two"]])
def test_templates_without_one_place_are_refused(make, templates):
    with pytest.raises(ConfigError, match=r"model\.text_templates"):
        make(text_templates=templates)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_head_has_as_many_linear_layers_as_asked_for(layers):
    head = JointHead(24, 32, layers, hidden=16)
    linear = [module for module in head.modules() if isinstance(module, nn.Linear)]
    assert len(linear) == layers
    assert head(torch.randn(2, 24)).shape == (2, 32)


def test_the_head_of_two_layers_is_the_published_one():
    """features @ pc_projection, then LayerNorm (eps 1e-6), dropout, linear without bias."""
    head = JointHead(24, 32, hidden=16).eval()
    x = torch.randn(3, 24)
    hidden = x @ head.projection.weight.T
    spread = hidden.var(-1, unbiased=False, keepdim=True)
    normed = (hidden - hidden.mean(-1, keepdim=True)) / (spread + 1e-6).sqrt()
    torch.testing.assert_close(head(x), normed @ head.head[-1].weight.T, rtol=1e-5, atol=1e-6)
