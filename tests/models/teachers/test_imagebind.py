"""ImageBind's trunks on generated checkpoints against plain formulas, and CLAP of transformers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lavis.common.errors import CheckpointError
from lavis.models.teachers.by_name import image_text_teacher, sound_text_teacher, text_teacher
from lavis.models.teachers.imagebind import ClapTeacher, ImageBindTeacher
from lavis.models.teachers.imagebind_network import ImageBindNetwork

WIDTHS, DEPTHS, E = {"vision": 8, "text": 12, "audio": 8}, {"vision": 2, "text": 1, "audio": 2}, 6
HEADS = {"vision": 2, "text": 3, "audio": 2}
VOCAB, LENGTH = 30522, 77


def official_shapes() -> dict[str, tuple[int, ...]]:
    """Shapes under the names of imagebind_huge.pth, with small widths."""
    v, t, a = (WIDTHS[m] for m in ("vision", "text", "audio"))
    pre, shapes = "modality_preprocessors.", {}
    shapes |= {
        f"{pre}vision.cls_token": (1, 1, v),
        f"{pre}vision.rgbt_stem.proj.1.weight": (v, 3, 2, 56, 56),
        f"{pre}vision.pos_embedding_helper.pos_embed": (1, 17, v),
        f"{pre}text.pos_embed": (1, LENGTH, t),
        f"{pre}text.mask": (LENGTH, LENGTH),
        f"{pre}text.token_embedding.weight": (VOCAB, t),
        f"{pre}audio.cls_token": (1, 1, a),
        f"{pre}audio.rgbt_stem.proj.weight": (a, 1, 16, 16),
        f"{pre}audio.rgbt_stem.norm_layer.weight": (a,),
        f"{pre}audio.rgbt_stem.norm_layer.bias": (a,),
        f"{pre}audio.pos_embedding_helper.pos_embed": (1, 229, a),
        "modality_trunks.vision.pre_transformer_layer.0.weight": (v,),
        "modality_trunks.vision.pre_transformer_layer.0.bias": (v,),
        "modality_heads.text.proj.0.weight": (t,),
        "modality_heads.text.proj.0.bias": (t,),
        "modality_heads.text.proj.1.weight": (E, t),
        "modality_postprocessors.text.1.log_logit_scale": (),
        "modality_heads.depth.2.weight": (E, 4),  # a trunk that is not read
        "modality_trunks.point.anything": (2,),  # of Point-Bind
    }
    for name, w in WIDTHS.items():
        for k in range(DEPTHS[name]):
            block = f"modality_trunks.{name}.blocks.{k}."
            shapes |= {
                f"{block}attn.in_proj_weight": (3 * w, w),
                f"{block}attn.in_proj_bias": (3 * w,),
                f"{block}attn.out_proj.weight": (w, w),
                f"{block}attn.out_proj.bias": (w,),
                f"{block}mlp.fc1.weight": (4 * w, w),
                f"{block}mlp.fc1.bias": (4 * w,),
                f"{block}mlp.fc2.weight": (w, 4 * w),
                f"{block}mlp.fc2.bias": (w,),
            }
            for norm in ("norm_1", "norm_2"):
                shapes |= {f"{block}{norm}.weight": (w,), f"{block}{norm}.bias": (w,)}
            if name == "audio":
                shapes |= {f"{block}attn.bias_k": (1, 1, w), f"{block}attn.bias_v": (1, 1, w)}
        if name != "text":
            head = f"modality_heads.{name}."
            shapes |= {f"{head}0.weight": (w,), f"{head}0.bias": (w,), f"{head}2.weight": (E, w)}
    return shapes


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = official_shapes()
    drawn = {n: 0.3 * torch.randn(s, generator=generator) for n, s in shapes.items()}
    drawn["modality_preprocessors.text.mask"] = torch.full((LENGTH,) * 2, -torch.inf).triu(1)
    return drawn


@pytest.fixture(scope="module")
def network(state) -> ImageBindNetwork:
    return ImageBindNetwork(state, HEADS)


def attention(state, prefix, x, heads, mask=None):
    """softmax(QK^T/sqrt(d))V of one sequence [L,D], with the learnt key and value, if any."""
    q, k, v = (x @ state[f"{prefix}in_proj_weight"].T + state[f"{prefix}in_proj_bias"]).chunk(3, 1)
    if f"{prefix}bias_k" in state:
        k = torch.cat([k, state[f"{prefix}bias_k"][0]])
        v = torch.cat([v, state[f"{prefix}bias_v"][0]])
    parts = []
    for own in torch.arange(x.shape[1]).chunk(heads):
        logits = q[:, own] @ k[:, own].T / len(own) ** 0.5
        parts.append((logits if mask is None else logits + mask).softmax(-1) @ v[:, own])
    return (
        torch.cat(parts, 1) @ state[f"{prefix}out_proj.weight"].T + state[f"{prefix}out_proj.bias"]
    )


def norm(state, name, x, eps=1e-6):
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)


def trunk(state, name, x, mask=None):
    """One sequence [L,D] through the blocks of a trunk."""
    prefix = f"modality_trunks.{name}."
    if name == "vision":
        x = norm(state, f"{prefix}pre_transformer_layer.0", x)
    for k in range(DEPTHS[name]):
        b = f"{prefix}blocks.{k}."
        x = x + attention(state, f"{b}attn.", norm(state, f"{b}norm_1", x), HEADS[name], mask)
        hidden = norm(state, f"{b}norm_2", x) @ state[f"{b}mlp.fc1.weight"].T
        hidden = F.gelu(hidden + state[f"{b}mlp.fc1.bias"])
        x = x + hidden @ state[f"{b}mlp.fc2.weight"].T + state[f"{b}mlp.fc2.bias"]
    return x


def with_class(state, name, patches):
    pre = f"modality_preprocessors.{name}."
    tokens = torch.cat([state[f"{pre}cls_token"][0], patches])
    return tokens + state[f"{pre}pos_embedding_helper.pos_embed"][0]


def test_images_are_still_videos(network, state):
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    weight = state["modality_preprocessors.vision.rgbt_stem.proj.1.weight"].sum(2)  # both frames
    for image, embed in zip(pixels, network.images(pixels)):
        patches = F.conv2d(image[None], weight, stride=56)[0].flatten(1).T
        x = trunk(state, "vision", with_class(state, "vision", patches))[0]
        expected = (
            norm(state, "modality_heads.vision.0", x) @ state["modality_heads.vision.2.weight"].T
        )
        torch.testing.assert_close(embed, expected, rtol=1e-5, atol=1e-5)


def test_sounds_read_a_learnt_key_and_value(network, state):
    spectrogram = torch.randn(1, 128, 204, generator=torch.Generator().manual_seed(2))
    weight = state["modality_preprocessors.audio.rgbt_stem.proj.weight"]
    patches = F.conv2d(spectrogram[None], weight, stride=10)[0].flatten(1).T
    patches = norm(state, "modality_preprocessors.audio.rgbt_stem.norm_layer", patches, 1e-5)
    x = trunk(state, "audio", with_class(state, "audio", patches))[0]
    expected = norm(state, "modality_heads.audio.0", x) @ state["modality_heads.audio.2.weight"].T
    torch.testing.assert_close(network.sounds(spectrogram)[0], expected, rtol=1e-5, atol=1e-5)


def test_texts_are_causal_and_read_at_their_end(network, state):
    ids = torch.zeros(2, LENGTH, dtype=torch.long)
    ids[0, :4], ids[1, :3] = torch.tensor([5, 9, 7, VOCAB - 1]), torch.tensor([5, 2, VOCAB - 1])
    pre = "modality_preprocessors.text."
    for row, end, embed in zip(ids, (3, 2), network.texts(ids)):
        x = state[f"{pre}token_embedding.weight"][row] + state[f"{pre}pos_embed"][0]
        x = trunk(state, "text", x, state[f"{pre}mask"])[end]
        x = norm(state, "modality_heads.text.proj.0", x)
        expected = x @ state["modality_heads.text.proj.1.weight"].T
        torch.testing.assert_close(embed, expected, rtol=1e-5, atol=1e-5)
    later = ids.clone()
    later[0, 10] = 3  # behind the end
    assert torch.equal(network.texts(later), network.texts(ids))


@pytest.mark.parametrize(
    "name",
    [
        "modality_trunks.audio.blocks.1.mlp.fc2.bias",
        "modality_preprocessors.vision.cls_token",
        "modality_heads.text.proj.1.weight",
    ],
)
def test_checkpoints_that_lack_a_tensor_are_refused(state, name):
    with pytest.raises(CheckpointError, match=r"not a checkpoint of ImageBind"):
        ImageBindNetwork({n: t for n, t in state.items() if n != name}, HEADS)


@pytest.fixture(scope="module")
def named(state, tmp_path_factory, tiny_bert) -> str:
    """The name of a generated checkpoint with a tokenizer."""
    folder = tmp_path_factory.mktemp("imagebind")
    torch.save(state, folder / "imagebind.pth")
    return f"imagebind:{folder / 'imagebind.pth'}@{tiny_bert}"


def test_the_teacher_embeds_texts_images_and_sounds_of_any_length(named):
    teacher = ImageBindTeacher(named, heads=HEADS)
    assert (teacher.embed_dim, teacher.space[:10]) == (E, "imagebind:")
    sounds = [torch.randn(length) for length in (900, 32_000, 100_000)]
    for embeds in (
        teacher(["a chair", "a dog"]),
        teacher.embed_images(torch.rand(2, 3, 64, 48)),
        teacher.embed_sounds(sounds),
    ):
        assert embeds.shape[1] == E
        torch.testing.assert_close(embeds.norm(dim=1), torch.ones(len(embeds)))
    # Three clips of a long sound differ; a sound of two seconds is its clip three times.
    first, _, last = teacher.spectrograms(torch.randn(100_000))
    assert first.shape == (128, 204)
    assert not torch.equal(first, last)
    same = teacher.spectrograms(torch.randn(32_000))
    assert torch.equal(same[0], same[2])


def test_names_without_a_checkpoint_are_refused(named):
    for name in (named.split("@")[0], "imagebind:/none.pth@/none"):
        for build in (text_teacher, image_text_teacher, sound_text_teacher):
            with pytest.raises(CheckpointError, match=r"imagebind:<checkpoint>@<CLIP folder>"):
                build(name, "model.text_teacher")


@pytest.fixture(scope="module")
def clap(tmp_path_factory, tiny_bert) -> str:
    """A tiny CLAP with a BERT's tokenizer."""
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    folder = tmp_path_factory.mktemp("clap")
    for file in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(Path(tiny_bert) / file, folder)
    text = {
        "vocab_size": VOCAB,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "projection_dim": 8,
    }
    audio = {
        "patch_embeds_hidden_size": 8,
        "depths": [1, 1],
        "num_attention_heads": [1, 2],
        "hidden_size": 16,
        "projection_dim": 8,
        "num_hidden_layers": 2,
    }
    torch.manual_seed(0)
    config = ClapConfig(text_config=text, audio_config=audio, projection_dim=8)
    ClapModel(config).save_pretrained(folder)
    ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad").save_pretrained(folder)
    return f"clap:{folder}"


def test_clap_embeds_texts_and_sounds_in_one_space(clap):
    teacher = sound_text_teacher(clap, "model.text_teacher")
    assert isinstance(teacher, ClapTeacher)
    assert isinstance(text_teacher(clap, "model.text_teacher"), ClapTeacher)
    rng = np.random.default_rng(0)
    sounds = [torch.from_numpy(rng.normal(size=n).astype(np.float32)) for n in (8_000, 20_000)]
    for embeds in (teacher(["a bark", "a bell"]), teacher.embed_sounds(sounds)):
        assert embeds.shape == (2, teacher.embed_dim)
        torch.testing.assert_close(embeds.norm(dim=1), torch.ones(2))
    with pytest.raises(CheckpointError):
        sound_text_teacher("clap:/nowhere", "model.text_teacher")
