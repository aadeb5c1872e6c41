"""Encoder pre-training: what it optimises, what stays frozen, and the way to stage 1."""

from __future__ import annotations

import pytest
import torch
from omegaconf import OmegaConf
from torch.nn import functional as F

from lavis.common.errors import CheckpointError, ConfigError
from lavis.common.model_state import trainable_state
from lavis.models.point_encoders import (
    build_point_encoder,
    encode_batch,
    load_encoder_checkpoint,
)
from lavis.models.point_encoders.export import encoder_state
from lavis.models.point_encoders.object_head import load_object_head
from lavis.models.ulip_models.config import UlipTextConfig
from lavis.models.ulip_models.ulip_text import UlipText
from lavis.models.weights.files import save_tensors
from lavis.tasks.embedding import similarity
from lavis.tasks.point_classification import class_embeddings


@pytest.fixture
def model(tiny_bert, tiny_encoder_cfg) -> UlipText:
    torch.manual_seed(0)
    sources = {"description": 1.0, "caption": 0.1}
    config = UlipTextConfig(
        point_encoder=tiny_encoder_cfg, text_tower=tiny_bert, text_sources=sources
    )
    return UlipText(config)


@pytest.fixture
def samples(point_cloud, captions) -> dict:
    shapes = [" ".join(caption.split()[2:]) for caption in captions]
    return {"point_cloud": point_cloud, "caption": captions, "description": shapes}


def test_loss_is_symmetric_cross_entropy(model, samples):
    model.eval()
    feature = model.point_encoder(samples["point_cloud"]).global_feature
    points = F.normalize(model.point_proj["caption"](feature), dim=-1)
    words = model.text_tower(samples["caption"])
    logits = points @ words.T / 0.07
    expected = sum(F.cross_entropy(x, torch.arange(4)) for x in (logits, logits.T)) / 2
    output = model(samples)
    torch.testing.assert_close(output["loss_caption"], expected)
    torch.testing.assert_close(output["loss"], output["loss_description"] + 0.1 * expected)


def test_training_moves_the_encoder_and_not_the_tower(model, samples):
    tower = {n: p.clone() for n, p in model.text_tower.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(15):
        loss = model(samples)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(torch.equal(p, tower[n]) for n, p in model.text_tower.named_parameters())
    assert not model.train().text_tower.bert.training


def test_text_embeddings_do_not_depend_on_the_batch(model):
    alone = model.text_tower(["a brick"])
    model.text_tower._cache.clear()
    together = model.text_tower(["a very long text about a plate", "a brick"])
    torch.testing.assert_close(alone[0], together[1], atol=1e-6, rtol=1e-5)


def test_exported_encoder_feeds_stage_one(model, samples, tiny_encoder_cfg, tmp_path):
    from safetensors.torch import save_file

    torch.save({"model": trainable_state(model)}, tmp_path / "run.pth")
    save_file(encoder_state(tmp_path / "run.pth"), tmp_path / "encoder.safetensors")
    encoder = build_point_encoder(tiny_encoder_cfg)
    report = load_encoder_checkpoint(encoder, tmp_path / "encoder.safetensors")
    assert not report.missing
    assert not report.unexpected
    ours = encoder.eval()(samples["point_cloud"]).tokens
    trained = model.point_encoder.eval()(samples["point_cloud"]).tokens
    torch.testing.assert_close(ours, trained, atol=2e-2, rtol=2e-2)  # float16 on disk


def test_the_average_of_a_run_is_exported(model, tmp_path):
    own = trainable_state(model)
    names = [n for n in own if n.startswith("point_encoder.") and n.endswith(".weight")]
    average = {name: own[name] + 1 for name in names}
    torch.save({"model": own, "ema": average}, tmp_path / "run.pth")
    found = encoder_state(tmp_path / "run.pth", torch.float32, average=True)
    name = names[0].removeprefix("point_encoder.")
    torch.testing.assert_close(found[name], own[names[0]] + 1)
    torch.save({"model": own}, tmp_path / "run.pth")
    with pytest.raises(CheckpointError, match="no averaged weights"):
        encoder_state(tmp_path / "run.pth", average=True)


def test_class_names_are_told_from_the_whole_vocabulary(tiny_bert, tiny_encoder_cfg, samples):
    class Data:
        def train_annotation(self) -> list[dict[str, str]]:
            return [{"category": name} for name in ("tile", "brick", "plate", "brick")]

    torch.manual_seed(0)
    keys = {"point_encoder": tiny_encoder_cfg, "text_tower": tiny_bert}
    vocabulary = {"whole_vocabulary": ("category",), "label_smoothing": 0.1}
    config = UlipTextConfig(**keys, text_sources={"category": 2.0}, **vocabulary)
    model = UlipText(config).eval()
    named = samples | {"category": ["brick", "tile", "brick", "brick"]}
    with pytest.raises(ConfigError, match="not in the vocabulary"):
        model(named)
    model.read_training_objects([Data()])
    feature = model.point_encoder(samples["point_cloud"]).global_feature
    points = F.normalize(model.point_proj["category"](feature), dim=-1)
    logits = points @ model.text_tower(["brick", "plate", "tile"]).T / 0.07
    expected = F.cross_entropy(logits, torch.tensor([0, 2, 0, 0]), label_smoothing=0.1)
    output = model(named)
    torch.testing.assert_close(output["loss_category"], expected)
    torch.testing.assert_close(output["loss"], 2 * expected)
    config = UlipTextConfig(**keys, whole_vocabulary=("class",))
    with pytest.raises(ConfigError, match="whole_vocabulary"):
        UlipText(config)


def test_sizes_and_a_hidden_layer_are_read(tiny_bert, tiny_encoder_cfg, samples):
    torch.manual_seed(0)
    keys = {"point_encoder": tiny_encoder_cfg, "text_tower": tiny_bert}
    head = {"use_size": True, "head_width": 12, "head_dropout": 0.1}
    model = UlipText(UlipTextConfig(**keys, **head)).eval()
    with pytest.raises(ConfigError, match="use_size"):
        model.embed(samples, "point")
    sized = samples | {"box_size": torch.full((4, 3), 2.0)}
    larger = samples | {"box_size": torch.full((4, 3), 4.0)}
    unknown = samples | {"box_size": torch.full((4, 3), float("nan"))}
    embeds = [model.embed(s, "point") for s in (sized, larger, unknown)]
    assert not torch.allclose(embeds[0], embeds[1])
    assert torch.isfinite(embeds[2]).all()
    model.train()(sized)["loss"].backward()
    assert all(p.grad is not None for p in model.object_head.layer.parameters())
    assert all(p.grad is not None for p in model.object_head.size_token.parameters())


def test_the_head_is_exported_and_loaded_alone(tiny_bert, tiny_encoder_cfg, samples, tmp_path):
    keys = {"point_encoder": tiny_encoder_cfg, "text_tower": tiny_bert, "use_size": True}
    model = UlipText(UlipTextConfig(**keys, head_width=12)).eval()
    torch.save({"model": model.state_dict()}, tmp_path / "run.pth")
    state = encoder_state(tmp_path / "run.pth", torch.float32, part="object_head")
    save_tensors(tmp_path / "head.safetensors", state, {})
    width = model.point_encoder.global_dim
    head = load_object_head(tmp_path / "head.safetensors", width, "model.retrieval_head")
    sized = samples | {"box_size": torch.full((4, 3), 2.0)}
    feature = encode_batch(model.point_encoder, sized).global_feature
    assert torch.equal(head(feature, sized), model.object_feature(sized))
    with pytest.raises(CheckpointError, match="no head of this encoder"):
        load_object_head(tmp_path / "head.safetensors", width + 1, "model.retrieval_head")


def test_export_refuses_a_run_without_an_encoder(tmp_path):
    torch.save({"model": {"qformer.query_tokens": torch.zeros(1)}}, tmp_path / "run.pth")
    with pytest.raises(CheckpointError, match="no trained point_encoder"):
        encoder_state(tmp_path / "run.pth")


def test_an_unknown_text_source_is_named(model, samples):
    del samples["description"]
    with pytest.raises(ConfigError, match="description"):
        model(samples)


def test_classes_are_scored_by_cosine(model, samples):
    embeds = class_embeddings(model, ["brick", "plate", "hat"], ["{}", "a {}"])
    torch.testing.assert_close(embeds.norm(dim=-1), torch.ones(3))
    scores = similarity(model.eval().embed(samples, "point"), embeds)
    assert scores.shape == (4, 3)
    assert scores.abs().max() <= 1 + 1e-5


@pytest.mark.parametrize("key", ["pretrained", "finetuned", "point_encoder_weights"])
def test_every_checkpoint_key_is_loaded(model, tiny_bert, tiny_encoder_cfg, tmp_path, key):
    path = tmp_path / "checkpoint.pth"
    of_encoder = key == "point_encoder_weights"
    state = model.point_encoder.state_dict() if of_encoder else trainable_state(model)
    torch.save({"model": state}, path)
    torch.manual_seed(1)
    section = {
        "point_encoder": tiny_encoder_cfg,
        "text_tower": tiny_bert,
        "text_sources": {"description": 1.0, "caption": 0.1},
    }
    other = UlipText.from_config(OmegaConf.create(section | {key: str(path)}))
    found, expected = other.state_dict(), model.state_dict()
    names = [n for n in expected if not of_encoder or n.startswith("point_encoder.")]
    assert all(torch.equal(found[name], expected[name]) for name in names)


def test_a_checkpoint_of_other_sizes_is_refused(tiny_bert, tiny_encoder_cfg, tmp_path):
    torch.save({"model": {"point_proj.caption.weight": torch.ones(2, 2)}}, tmp_path / "x.pth")
    section = {"point_encoder": tiny_encoder_cfg, "text_tower": tiny_bert}
    cfg = OmegaConf.create(section | {"finetuned": str(tmp_path / "x.pth")})
    with pytest.raises(CheckpointError, match=r"model\.finetuned"):
        UlipText.from_config(cfg)


def test_a_checkpoint_of_another_teacher_is_refused(model, tiny_bert, tiny_encoder_cfg, tmp_path):
    payload = {"model": trainable_state(model), "space": "openclip/ViT-B-32"}
    torch.save(payload, tmp_path / "other.pth")
    cfg = {"point_encoder": tiny_encoder_cfg, "text_tower": tiny_bert}
    cfg |= {"text_sources": {"description": 1.0, "caption": 0.1}}
    other = OmegaConf.create(cfg | {"finetuned": str(tmp_path / "other.pth")})
    with pytest.raises(CheckpointError, match=r"another teacher[\s\S]*model\.finetuned"):
        UlipText.from_config(other)
    torch.save(payload | {"space": model.space}, tmp_path / "own.pth")
    UlipText.from_config(OmegaConf.create(cfg | {"finetuned": str(tmp_path / "own.pth")}))


class Shapes:
    """A training split with twice the four descriptions of the samples."""

    def __init__(self, samples: dict) -> None:
        self.texts = samples["description"]

    def train_annotation(self) -> list[dict[str, str]]:
        return [{"description": text} for text in self.texts * 2]  # a word counts from two texts on


@pytest.fixture
def hybrid(tiny_bert, tiny_encoder_cfg, samples) -> UlipText:
    torch.manual_seed(0)
    keys = {"point_encoder": tiny_encoder_cfg, "text_tower": tiny_bert}
    sources = {"description": 1.0}
    words = {"lexical_source": "description", "lexical_weight": 0.5, "lexical_share": 0.25}
    model = UlipText(UlipTextConfig(**keys, text_sources=sources, **words)).eval()
    with pytest.raises(ConfigError, match="not in the vocabulary"):
        model(samples)
    model.read_training_objects([Shapes(samples)])
    return model


def test_words_are_told_from_all_training_texts_and_in_the_batch(hybrid, samples):
    words = samples["description"]
    rows = sorted(set(words))
    points = hybrid.lexical(hybrid.object_feature(samples))
    logits = points @ hybrid.lexical.words(rows).T / 0.07
    own = torch.tensor([rows.index(word) for word in words])
    everything = F.cross_entropy(logits, own)
    batch = points @ hybrid.lexical.words(words).T / 0.07
    inside = sum(F.cross_entropy(x, torch.arange(4)) for x in (batch, batch.T)) / 2
    output = hybrid(samples)
    torch.testing.assert_close(output["loss_words"], (everything + inside) / 2)
    expected = output["loss_description"] + 0.5 * output["loss_words"]
    torch.testing.assert_close(output["loss"], expected)


def test_a_cosine_of_the_hybrid_embedding_is_the_mean_of_both(hybrid, samples):
    texts = samples["description"]
    feature = hybrid.object_feature(samples)
    dense = F.normalize(hybrid.point_proj["description"](feature), dim=-1)
    expected = 0.75 * dense @ hybrid.text_tower(texts).T
    expected = expected + 0.25 * hybrid.lexical(feature) @ hybrid.lexical.words(texts).T
    found = hybrid.embed(samples, "point") @ hybrid.embed_texts(texts).T
    torch.testing.assert_close(found, expected)
    assert hybrid.space.endswith("+words@3")


def test_a_trained_hybrid_is_evaluated_without_its_training_split(hybrid, samples):
    before = hybrid.embed_texts(samples["description"])
    assert before.norm(dim=-1).allclose(torch.ones(4))
    state = {name: value.clone() for name, value in trainable_state(hybrid).items()}
    hybrid.lexical.words.rarity.zero_()
    assert not torch.equal(hybrid.embed_texts(samples["description"]), before)
    hybrid.load_state_dict(state, strict=False)
    assert torch.equal(hybrid.embed_texts(samples["description"]), before)


def test_the_head_of_any_text_source_embeds(tiny_bert, tiny_encoder_cfg, samples):
    torch.manual_seed(0)
    keys = {"point_encoder": tiny_encoder_cfg, "text_tower": tiny_bert}
    keys["text_sources"] = {"description": 1.0, "caption": 0.1}
    model = UlipText(UlipTextConfig(**keys, embed_source="caption")).eval()
    expected = F.normalize(model.point_proj["caption"](model.object_feature(samples)), dim=-1)
    torch.testing.assert_close(model.embed(samples, "point"), expected)
    with pytest.raises(ConfigError, match="embed_source"):
        UlipText(UlipTextConfig(**keys, embed_source="category"))
