"""PointLLM-Contrastive on tiny models: both losses, files and bad input."""

from __future__ import annotations

import pytest
import torch

from lavis.common.checkpoint import save_checkpoint
from lavis.common.errors import CheckpointError, ConfigError, DataError
from lavis.common.model_state import trainable_state
from lavis.evaluation.alignment import PairedSets
from lavis.models.point_llm_contrastive_models import aligned_llm
from lavis.models.point_llm_contrastive_models.aligned_llm import AlignedLanguageModel
from lavis.models.point_llm_contrastive_models.checkpoints import load_projector
from lavis.models.point_llm_contrastive_models.options import PointLLMContrastiveConfig
from lavis.models.point_llm_contrastive_models.point_llm_contrastive import PointLLMContrastive
from lavis.models.point_llm_contrastive_models.token_cache import encoder_identity, write_tokens

RELEASE = {"match_text_norm": False, "negatives": "bank", "train_embeddings": "all"}
OURS = {
    "match_text_norm": True,
    "negatives": "batch",
    "train_embeddings": "new",
    "end_in_target": True,
    "center_weight": 0.5,
}


def build(llm: str, encoder: dict, seed: int = 0, **options) -> PointLLMContrastive:
    torch.manual_seed(seed)  # of the encoder, which has no weights to load here
    sizes = {"point_encoder": encoder, "hidden_dim": 16}
    return PointLLMContrastive(PointLLMContrastiveConfig(llm=llm, **sizes, **options))


@pytest.fixture
def samples(point_cloud, captions) -> dict:
    return {"point_cloud": point_cloud, "text_input": captions}


def test_answers_are_targets_behind_their_questions(tiny_llama, tiny_encoder_cfg, samples):
    model = build(tiny_llama, tiny_encoder_cfg).eval()
    asked = {
        "point_cloud": samples["point_cloud"],
        "question": ["which color?"] * 4,
        "answer": ["red"] * 4,
    }
    expected = model.generative_loss(model.project(asked), ["which color?"] * 4, ["red"] * 4)
    torch.testing.assert_close(model(asked)["loss_generative"], expected)
    with pytest.raises(DataError, match="empty captions"):
        model({**asked, "answer": ["red", " ", "red", "red"]})


@pytest.mark.parametrize("options", [RELEASE, OURS], ids=["release", "ours"])
@pytest.mark.parametrize("loss_type", ["generative", "contrastive"])
def test_training_lowers_the_loss_and_moves_only_what_may_move(
    tiny_llama, tiny_encoder_cfg, samples, loss_type, options
):
    model = build(tiny_llama, tiny_encoder_cfg, loss_type=loss_type, **options).train()
    before = {name: p.clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(12):
        output = model(samples)
        optimizer.zero_grad()
        output["loss"].backward()
        optimizer.step()
        losses.append(output[f"loss_{loss_type}"].item())
    assert min(losses[-3:]) < losses[0]
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved <= {name for name, p in model.named_parameters() if p.requires_grad}
    assert any(name.startswith("projector.") for name in moved)
    reads_edges = loss_type == "generative"
    assert ("boundary_tokens" in moved) == (reads_edges and options is OURS)
    matrix = {name for name in moved if name.startswith("language_model.")}
    assert bool(matrix) == (reads_edges and options is RELEASE)


def test_both_losses_start_from_one_projector(tiny_llama, tiny_encoder_cfg):
    models = [
        build(tiny_llama, tiny_encoder_cfg, seed=seed, loss_type=loss_type)
        for seed, loss_type in enumerate(("generative", "contrastive"))
    ]
    first, second = (model.projector.state_dict() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_norm_matching_gives_tokens_the_length_of_words(tiny_llama, tiny_encoder_cfg, samples):
    model = build(tiny_llama, tiny_encoder_cfg, match_text_norm=True)
    words = model.language_model.embedding_table().norm(dim=-1).mean()
    length = model.project(samples).norm(dim=-1).mean()
    assert length.item() == pytest.approx(words.item(), rel=0.05)
    plain = build(tiny_llama, tiny_encoder_cfg).project(samples)
    assert plain.norm(dim=-1).mean().item() == pytest.approx(32**0.5, rel=0.05)


def test_center_loss_does_not_know_which_text_belongs_to_which_object(
    tiny_llama, tiny_encoder_cfg, samples, captions
):
    model = build(tiny_llama, tiny_encoder_cfg)
    projected = model.project(samples)
    loss = model.center_loss(projected, captions)
    torch.testing.assert_close(loss, model.center_loss(projected, captions[::-1]))
    words = model.mean_words(captions)
    distance = (projected.mean(1).mean(0) - words.mean(0)).norm() ** 2
    torch.testing.assert_close(loss, distance / words.norm(dim=-1).square().mean())


def trained_points(model: PointLLMContrastive, samples: dict, steps: int = 12) -> torch.Tensor:
    """Object embeddings [B,D] after a few steps on one batch."""
    optimizer = torch.optim.AdamW(model.projector.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        model(samples)["loss"].backward()
        optimizer.step()
    return model.mean_tokens(samples)


def margin(points: torch.Tensor, texts: torch.Tensor) -> float:
    return PairedSets(points.numpy(), texts.numpy()).plain()["margin"]


def test_the_center_alone_learns_no_pair_and_the_contrast_does(
    tiny_llama, tiny_encoder_cfg, captions, tmp_path
):
    first = build(tiny_llama, tiny_encoder_cfg)
    identity = {"encoder": encoder_identity(first.point_encoder), "data": "d"}
    ids = ["0", "1", "2", "3"]
    # The untrained encoder's tokens hardly differ between clouds; these do.
    tokens = torch.randn(4, 9, 24, generator=torch.Generator().manual_seed(0)).numpy()
    write_tokens(tmp_path / "t", identity, {"train": tokens}, {"train": {"object_id": ids}})
    options = {"token_cache": str(tmp_path / "t"), "negatives": "batch"}
    texts = first.mean_words(captions)
    learnt = []
    for k in range(4):  # whichever text is given to an object
        model = build(tiny_llama, tiny_encoder_cfg, loss_type="center", **options)
        batch = {"object_id": ids, "text_input": captions[k:] + captions[:k]}
        learnt.append(trained_points(model, batch))
    for points in learnt[1:]:
        torch.testing.assert_close(points, learnt[0], atol=1e-4, rtol=1e-3)
    margins = [margin(learnt[0], torch.roll(texts, k, 0)) for k in range(4)]
    assert sum(margins) == pytest.approx(0.0, abs=1e-6)
    contrast = build(tiny_llama, tiny_encoder_cfg, loss_type="contrastive", **options)
    batch = {"object_id": ids, "text_input": captions}
    assert margin(trained_points(contrast, batch, 40), texts) > 2 * max(map(abs, margins))


def test_the_center_alone_moves_the_centroid(tiny_llama, tiny_encoder_cfg, samples, captions):
    model = build(tiny_llama, tiny_encoder_cfg, loss_type="center", match_text_norm=True)
    texts = model.mean_words(captions).mean(0)
    before = (model.mean_tokens(samples).mean(0) - texts).norm()
    after = (trained_points(model, samples).mean(0) - texts).norm()
    assert after < 0.5 * before
    assert set(model(samples)) == {"loss", "loss_center"}


def test_a_weight_beside_the_center_alone_is_refused():
    config = PointLLMContrastiveConfig(loss_type="center", center_weight=1.0)
    with pytest.raises(ConfigError, match="center_weight"):
        PointLLMContrastive(config)


@pytest.fixture
def token_folder(tiny_llama, tiny_encoder_cfg, samples, tmp_path) -> str:
    """Tokens of the four clouds, in another order than the batch's."""
    model = build(tiny_llama, tiny_encoder_cfg).eval()
    tokens = model.point_tokens(samples).numpy()[::-1]
    identity = {"encoder": encoder_identity(model.point_encoder), "data": "d"}
    objects = {"train": {"object_id": ["3", "2"]}, "val": {"object_id": ["1", "0"]}}
    write_tokens(tmp_path / "t", identity, {"train": tokens[:2], "val": tokens[2:]}, objects)
    return str(tmp_path / "t")


@pytest.mark.parametrize("loss_type", ["generative", "contrastive", "center"])
def test_cached_tokens_give_the_loss_of_the_clouds(
    tiny_llama, tiny_encoder_cfg, samples, token_folder, loss_type
):
    encoded = build(tiny_llama, tiny_encoder_cfg, loss_type=loss_type)
    cached = build(tiny_llama, tiny_encoder_cfg, loss_type=loss_type, token_cache=token_folder)
    named = {"object_id": ["0", "1", "2", "3"], "text_input": samples["text_input"]}
    torch.testing.assert_close(cached(named)["loss"], encoded(samples)["loss"])
    swapped = {**named, "object_id": ["1", "0", "2", "3"]}
    assert not torch.equal(cached.project(swapped), cached.project(named))


def test_objects_without_cached_tokens_are_refused(
    tiny_llama, tiny_encoder_cfg, samples, token_folder
):
    model = build(tiny_llama, tiny_encoder_cfg, token_cache=token_folder)
    with pytest.raises(DataError, match="'7'"):
        model.project({"object_id": ["0", "7"]})
    with pytest.raises(DataError, match="without object_id"):
        model.project(samples)


def test_tokens_of_another_encoder_are_refused(
    tiny_llama, tiny_encoder_cfg, token_folder, tmp_path
):
    with pytest.raises(CheckpointError, match="another point encoder"):
        build(tiny_llama, tiny_encoder_cfg, seed=1, token_cache=token_folder)
    with pytest.raises(CheckpointError, match=r"no tokens\.json"):
        build(tiny_llama, tiny_encoder_cfg, token_cache=str(tmp_path / "nowhere"))


def test_the_end_token_is_scored_only_on_request(tiny_llama):
    for end_in_target, length in ((False, 3), (True, 4)):
        llm = AlignedLanguageModel(tiny_llama, torch.float32, end_in_target)
        assert llm.tokenize([" ab"], add_end=True)[0].shape[1] == length


def test_a_row_of_a_batch_equals_the_row_alone(tiny_llama, tiny_encoder_cfg, samples):
    model = build(tiny_llama, tiny_encoder_cfg, loss_type="contrastive").eval()
    batch = model.embed_words(samples)
    one = {key: value[1:2] for key, value in samples.items()}
    alone = model.embed_words(one)
    torch.testing.assert_close(batch["points"][1:2], alone["points"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(batch["texts"][1:2], alone["texts"])
    torch.testing.assert_close(batch["words"][1], alone["words"][0])
    torch.testing.assert_close(alone["texts"][0], alone["words"][0].mean(0))
    assert torch.isfinite(model(one)["loss"])


def test_instructions_follow_object_and_epoch(tiny_llama, tiny_encoder_cfg, samples):
    model = build(tiny_llama, tiny_encoder_cfg, instructions=["A", "B", "C"]).train()
    batch = samples | {"instance_id": ["1", "2", "3", "4"], "epoch": 0}
    assert model.draw_instructions(batch) == model.draw_instructions(batch)
    drawn = [model.draw_instructions(batch | {"epoch": epoch})[0] for epoch in range(12)]
    assert set(drawn) == {"A", "B", "C"}
    assert model.eval().draw_instructions(batch) == ["A"] * 4


@pytest.mark.parametrize("num_beams", [1, 2])
def test_captions_and_answers(tiny_llama, tiny_encoder_cfg, samples, num_beams):
    model = build(tiny_llama, tiny_encoder_cfg, train_embeddings="new").eval()
    assert len(model.generate(samples, num_beams=num_beams, max_length=4)) == 4
    questions = {**samples, "question": ["which color?"] * 4}
    assert len(model.answer(questions, num_beams=num_beams, max_len=4)) == 4
    assert model.mean_tokens(samples).shape == (4, 32)


@pytest.mark.parametrize("options", [RELEASE, OURS], ids=["release", "ours"])
def test_our_checkpoint_gives_the_same_model(
    tiny_llama, tiny_encoder_cfg, samples, tmp_path, options
):
    trained = build(tiny_llama, tiny_encoder_cfg, **options).eval()
    with torch.no_grad():
        for name, parameter in trained.named_parameters():
            if parameter.requires_grad and not name.startswith("language_model."):
                parameter.add_(0.1)
    trained.set_boundaries(torch.arange(64.0).reshape(2, 32) / 64)
    payload = {"model": trainable_state(trained), "state": {"global_step": 3}}
    save_checkpoint(payload, tmp_path / "c.pth")
    other = build(tiny_llama, tiny_encoder_cfg, **options).eval()
    load_projector(other, tmp_path / "c.pth", "model.finetuned")
    torch.testing.assert_close(other(samples)["loss"], trained(samples)["loss"])
    assert other.loaded_checkpoint == str(tmp_path / "c.pth")
    assert other.trained_steps == 3


def test_a_file_of_the_release_loads(tiny_llama, tiny_encoder_cfg, tmp_path):
    source = build(tiny_llama, tiny_encoder_cfg, projector_seed=7)
    rows = torch.arange(64.0).reshape(2, 32) / 64
    payload = {
        "projector_state_dict": source.projector.state_dict(),
        "special_token_embeddings": {"p_start": rows[0], "p_end": rows[1]},
        "epoch": 4,
    }
    torch.save(payload, tmp_path / "best.pth")
    model = build(tiny_llama, tiny_encoder_cfg, train_embeddings="new")
    load_projector(model, tmp_path / "best.pth", "model.finetuned")
    assert torch.equal(model.projector.fc1.weight, source.projector.fc1.weight)
    assert torch.equal(model.boundary_tokens.detach(), rows)


def test_the_initial_projector_is_kept_in_the_release_s_layout(
    tiny_llama, tiny_encoder_cfg, tmp_path
):
    model = build(tiny_llama, tiny_encoder_cfg)
    path = model.save_initial_weights(tmp_path)
    payload = torch.load(path, weights_only=True)
    assert path.name == "initial_projector_weights.pth"
    assert payload["projector_config"] == {"input_dim": 24, "hidden_dim": 16, "output_dim": 32}
    load_projector(build(tiny_llama, tiny_encoder_cfg, projector_seed=1), path, "model.finetuned")


def test_a_projector_of_other_sizes_is_refused(tiny_llama, tiny_encoder_cfg, tmp_path):
    path = build(tiny_llama, tiny_encoder_cfg, match_text_norm=True).save_initial_weights(tmp_path)
    with pytest.raises(CheckpointError, match="norm_scale"):
        load_projector(build(tiny_llama, tiny_encoder_cfg), path, "model.finetuned")


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ({"loss_type": "contrastiv"}, "contrastive"),
        ({"negatives": "banks"}, "bank"),
        ({"train_embeddings": "old"}, "all, new"),
        ({"llm_dtype": "float8"}, "float32"),
    ],
)
def test_unknown_choices_are_refused_with_the_nearest(option, hint):
    with pytest.raises(ConfigError, match=hint):
        PointLLMContrastive(PointLLMContrastiveConfig(**option))


def test_empty_texts_are_refused(tiny_llama, tiny_encoder_cfg, samples):
    model = build(tiny_llama, tiny_encoder_cfg)
    with pytest.raises(DataError, match="positions"):
        model({**samples, "text_input": ["a", " ", "b", "c"]})


def refuse(message: str, error: type[Exception]):
    """Return a language-model class whose loading fails as the hub's or transformers' does."""

    def fail(*args, **kwargs):
        try:
            raise error(message)
        except OSError as cause:
            raise CheckpointError("a language model cannot be loaded") from cause

    return fail


def test_a_gated_model_without_token_says_what_to_do(monkeypatch, tmp_path):
    gated = refuse("You are trying to access a gated repo.", OSError)
    monkeypatch.setattr(aligned_llm, "AlignedLanguageModel", gated)
    monkeypatch.setattr(aligned_llm, "get_abs_path", lambda name: str(tmp_path / name))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(CheckpointError, match=r"no token[\s\S]*HF_TOKEN"):
        aligned_llm.load_aligned_llm("meta/some", torch.float32, False)


def test_a_refused_token_of_the_file_is_never_printed(monkeypatch, tmp_path):
    (tmp_path / ".hf_token").write_text("hf_secret\n")
    gated = refuse("401 Client Error for hf_secret", OSError)
    monkeypatch.setattr(aligned_llm, "AlignedLanguageModel", gated)
    monkeypatch.setattr(aligned_llm, "get_abs_path", lambda name: str(tmp_path / name))
    monkeypatch.setenv("HF_TOKEN", "")  # restored afterwards
    with pytest.raises(CheckpointError) as caught:
        aligned_llm.load_aligned_llm("meta/some", torch.float32, False)
    assert aligned_llm.os.environ["HF_TOKEN"] == "hf_secret"
    assert "hf_secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_model_without_input_embeddings_is_refused(monkeypatch):
    monkeypatch.setattr(aligned_llm, "AlignedLanguageModel", refuse("none", NotImplementedError))
    with pytest.raises(ConfigError, match="no input embeddings"):
        aligned_llm.load_aligned_llm("some", torch.float32, False)


def test_a_missing_model_keeps_its_own_message(monkeypatch):
    missing = refuse("no such folder", OSError)
    monkeypatch.setattr(aligned_llm, "AlignedLanguageModel", missing)
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        aligned_llm.load_aligned_llm("nowhere", torch.float32, False)


def test_gradients_leave_encoder_and_words_alone(tiny_llama, tiny_encoder_cfg, samples):
    model = build(tiny_llama, tiny_encoder_cfg, **OURS).train()
    assert not model.point_encoder.training
    model(samples)["loss"].backward()
    with_gradient = {n for n, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == {n for n, p in model.named_parameters() if p.requires_grad}
