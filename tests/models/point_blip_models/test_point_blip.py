"""Stage 1 on a tiny model: losses, batch of one, generation, retrieval, classes, loading."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from omegaconf import OmegaConf
from torch.nn import functional as F

from lavis.common.errors import CheckpointError, ConfigError, DataError, ShapeError
from lavis.models import contrastive
from lavis.models.point_blip_models.config import PointBlipConfig, Stage1Options
from lavis.models.point_blip_models.point_blip import PointBlip
from lavis.models.point_encoders import build_point_encoder, freeze
from lavis.models.position_encoding import encode_xyz
from lavis.tasks.embedding import similarity
from lavis.tasks.point_classification import class_embeddings


def build(tiny_bert: str, encoder: dict, **options) -> PointBlip:
    torch.manual_seed(0)
    own = {"point_encoder": encoder, "freeze_point_encoder": False, "qformer_bert": tiny_bert}
    own |= {"embed_dim": 16, "num_query_token": 4, "qformer_width": None}
    return PointBlip(PointBlipConfig(**own | options))


@pytest.fixture
def model(tiny_bert, tiny_encoder_cfg) -> PointBlip:
    return build(tiny_bert, tiny_encoder_cfg)


@pytest.fixture
def samples(point_cloud, captions) -> dict:
    return {"point_cloud": point_cloud, "text_input": captions, "instance_id": list("abcd")}


def test_losses_are_finite_and_reach_every_part(model, samples):
    output = model(samples)
    assert set(output) == {"loss", "loss_ptc", "loss_ptm", "loss_ptg", "temperature"}
    output["loss"].backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    # The last text feed-forward is read by PTC (text) and PTG, so nothing is idle.
    assert without == []
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_training_lowers_the_loss(model, samples):
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    first = last = None
    for _ in range(25):
        loss = model(samples)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first, last = first or loss.item(), loss.item()
    assert last < 0.75 * first


def test_batch_of_one_works(model, samples):
    one = {key: value[:1] for key, value in samples.items()}
    output = model(one)
    assert torch.isfinite(output["loss"])
    assert output["loss_ptc"].item() == pytest.approx(0.0, abs=1e-5)


def test_a_loss_of_weight_zero_is_not_computed(tiny_bert, tiny_encoder_cfg, samples):
    model = build(tiny_bert, tiny_encoder_cfg, loss_weights={"ptm": 0.0})
    output = model(samples)
    assert "loss_ptm" not in output
    torch.testing.assert_close(output["loss"], output["loss_ptc"] + output["loss_ptg"])


def test_captioning_batch_scores_the_first_captions_only(model, samples):
    model.eval()
    model.options = replace(model.options, captioning_batch=2)
    part = model(samples)["loss_ptg"]
    model.options = replace(model.options, captioning_batch=None)
    first = {key: value[:2] for key, value in samples.items()}
    torch.testing.assert_close(part, model(first)["loss_ptg"])
    assert not torch.allclose(part, model(samples)["loss_ptg"])


def test_matching_batch_takes_fewer_pairs(model, samples):
    model.options = replace(model.options, matching_batch=2)
    assert torch.isfinite(model(samples)["loss_ptm"])


@pytest.fixture
def model_with_size(tiny_bert, tiny_encoder_cfg) -> PointBlip:
    return build(tiny_bert, tiny_encoder_cfg, use_size_token=True)


BOXES = torch.tensor([[2.0, 1.2, 4.0], [4.0, 1.2, 8.0], [1.0, 1.0, 0.0], [10.0, 0.4, 11.0]])


def test_size_token_comes_last_and_tells_equal_shapes_of_other_size_apart(model_with_size, samples):
    model = model_with_size.eval()
    clouds = samples["point_cloud"][:1].expand(4, -1, -1)
    tokens = model.point_tokens({"point_cloud": clouds, "box_size": BOXES})
    torch.testing.assert_close(tokens[:, :-1], model.read_tokens(clouds))
    distance = torch.cdist(tokens[:, -1], tokens[:, -1])
    assert distance[~torch.eye(4, dtype=torch.bool)].min() > 0.1
    embeds = model.embed({"point_cloud": clouds, "box_size": BOXES}, "point")
    assert not torch.allclose(embeds[0], embeds[1])


def test_size_token_is_trained_beside_a_frozen_encoder(model_with_size, samples):
    freeze(model_with_size.point_encoder)
    model_with_size(samples | {"box_size": BOXES})["loss"].backward()
    gradients = [p.grad for p in model_with_size.size_token.parameters()]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in gradients)


def test_model_with_a_size_token_refuses_samples_without_sizes(model_with_size, samples):
    with pytest.raises(ConfigError, match="box_size"):
        model_with_size(samples)


@pytest.mark.parametrize("class_token", [False, True])
def test_pooled_token_is_the_normalised_maximum_behind_the_groups(
    tiny_bert, tiny_encoder_cfg, samples, class_token
):
    options = {"use_size_token": True, "use_class_token": class_token}
    model = build(tiny_bert, tiny_encoder_cfg, use_pooled_token=True, **options)
    freeze(model.point_encoder)
    tokens = model.point_tokens(samples | {"box_size": BOXES})
    groups = model.read_tokens(samples["point_cloud"])[:, int(class_token) :]
    assert tokens.shape[1] == groups.shape[1] + int(class_token) + 2
    torch.testing.assert_close(tokens[:, -2], model.pooled_norm(groups.amax(1)))
    model(samples | {"box_size": BOXES})["loss"].backward()
    assert model.pooled_norm.weight.grad.abs().sum() > 0


def test_matching_reads_the_described_texts_and_the_other_losses_the_drawn_ones(model, samples):
    model.eval()
    model.draw_negatives = hardest_negatives
    own = list(samples["text_input"])
    samples |= {"caption": own, "category": list("wxyz"), "text_input": [*own[:3], "z"]}
    drawn = model(samples)
    model.options = replace(model.options, matching_text="described")
    described = model(samples)
    for name in ("loss_ptc", "loss_ptg"):
        torch.testing.assert_close(described[name], drawn[name])
    assert not torch.allclose(described["loss_ptm"], drawn["loss_ptm"])


@pytest.mark.parametrize("name", ["positives", "matching_text", "text_pooling"])
def test_an_unknown_choice_names_its_key(name):
    with pytest.raises(ConfigError, match=f"model.{name}"):
        Stage1Options(**{name: "draw"})


def hardest_negatives(similarity, keys):
    """The most similar item that is not right: what can be compared, other than a draw."""
    found = []
    for scores, pair in zip(similarity, (keys.object_to_text, keys.text_to_object)):
        forbidden = contrastive.share_key(*pair)
        found.append((scores.detach().masked_fill(forbidden, -1e4).argmax(1), ~forbidden.all(1)))
    return found[1], found[0]


def test_contrast_equals_a_plain_computation(model, samples):
    model.eval()
    features = model.extract_features(samples, mode="both")
    best = torch.stack(
        [(features.point_embeds[i] @ features.text_embeds.T).amax(0) for i in range(4)]
    )
    logits = best / 0.07
    target = torch.arange(4)
    expected = sum(F.cross_entropy(x, target, label_smoothing=0.1) for x in (logits, logits.T)) / 2
    torch.testing.assert_close(model(samples)["loss_ptc"], expected, atol=1e-5, rtol=1e-5)


def test_caption_loss_equals_a_plain_computation(model, samples):
    model.eval()
    ids, mask = model.tokenize(samples["text_input"])
    decoder_ids = ids.clone()
    decoder_ids[:, 0] = model.tokenizer.bos_token_id
    cloud = model.qformer.project_cloud(model.encode_cloud(samples))
    _, cache = model.qformer.query_pass(cloud)
    states, _ = model.qformer.causal_pass(decoder_ids, mask, cache)
    logits = model.qformer.vocabulary_logits(states)[:, :-1]
    labels = decoder_ids[:, 1:].masked_fill(mask[:, 1:] == 0, -100)
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=0.1)
    torch.testing.assert_close(model(samples)["loss_ptg"], expected, atol=1e-5, rtol=1e-5)


def test_losses_are_finite_in_bfloat16(model, samples):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(samples)
    output["loss"].backward()
    assert torch.isfinite(output["loss"])
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_beams_write_one_caption_per_cloud_whatever_the_batch(model, samples):
    model.eval()
    bounds = {"num_beams": 3, "max_length": 6, "min_length": 2}
    batch = model.generate(samples, **bounds)
    alone = [
        model.generate({"point_cloud": samples["point_cloud"][i : i + 1]}, **bounds)[0]
        for i in range(4)
    ]
    assert batch == alone
    with pytest.raises(ConfigError, match="prompt"):
        model.generate(samples, prompt="a")


def test_the_projection_folded_into_keys_equals_projected_tokens(
    tiny_bert, tiny_encoder_cfg, samples
):
    model = build(tiny_bert, tiny_encoder_cfg, num_query_token=32, qformer_width=40).eval()
    projected = model.qformer.project_cloud(model.encode_cloud(samples))
    folded = model.project_cloud(model.point_tokens(samples))
    torch.testing.assert_close(folded[0][0], projected[0][0], atol=1e-5, rtol=1e-4)


def test_xyz_encoding_adds_where_a_token_is(model, samples):
    model.eval()
    plain = model.point_tokens(samples)
    model.xyz_encoding = True
    centers = model.point_encoder(samples["point_cloud"]).centers
    expected = plain + encode_xyz(centers, plain.shape[-1])
    torch.testing.assert_close(model.point_tokens(samples), expected)


@pytest.mark.parametrize("top_p", [None, 0.9])
def test_generate_writes_one_caption_per_cloud(model, samples, top_p):
    model.eval()
    torch.manual_seed(0)
    written = model.generate(samples, max_length=5, min_length=2, top_p=top_p)
    assert len(written) == 4
    assert all(isinstance(text, str) for text in written)


def test_generation_of_one_equals_row_of_batch(model, samples):
    model.eval()
    batch = model.generate(samples, max_length=6)
    alone = [
        model.generate({"point_cloud": samples["point_cloud"][i : i + 1]}, max_length=6)[0]
        for i in range(4)
    ]
    assert batch == alone


def test_matching_scores_a_pair_alone_as_in_a_batch(model, samples):
    model.eval()
    embeds, tokens = model.embed_for_matching(samples)
    torch.testing.assert_close(tokens, model.encode_cloud(samples))
    torch.testing.assert_close(embeds, model.embed(samples, "point"))
    together = model.match_scores(tokens, samples["text_input"])
    alone = model.match_scores(tokens[1:2], samples["text_input"][1:2])
    assert together.shape == (4,)
    torch.testing.assert_close(together[1:2], alone)


def test_class_embeddings_are_unit_means(model, samples):
    model.eval()
    embeds = class_embeddings(model, ["brick", "plate"], ["{}", "a {}"])
    torch.testing.assert_close(embeds.norm(dim=-1), torch.ones(2))
    assert similarity(model.embed(samples, "point"), embeds).shape == (4, 2)


def test_bad_input_is_named(model, samples):
    with pytest.raises(DataError, match="empty captions"):
        model({**samples, "text_input": ["a brick", " ", "x", "y"]})
    with pytest.raises(ShapeError, match="point_cloud"):
        model({**samples, "point_cloud": samples["point_cloud"][0]})


def test_checkpoint_round_trip_and_misfit(model, samples, tiny_bert, tiny_encoder_cfg, tmp_path):
    path = tmp_path / "stage1.pth"
    torch.save({"model": model.state_dict()}, path)
    other = build(tiny_bert, tiny_encoder_cfg)
    other.load_from_pretrained(str(path))
    own, loaded = model.eval().extract_features(samples, "both"), other.eval()
    torch.testing.assert_close(
        own.point_embeds, loaded.extract_features(samples, "both").point_embeds
    )
    with pytest.raises(CheckpointError, match="does not fit"):
        build(tiny_bert, tiny_encoder_cfg, embed_dim=8).load_from_pretrained(str(path))


def test_blip2_names_load(model, tiny_bert, tiny_encoder_cfg, tmp_path):
    state = {}
    for name, tensor in model.state_dict().items():
        if name == "qformer.query_tokens":
            state["query_tokens"] = tensor + 1
        elif name.startswith("qformer."):
            state[name.replace("qformer.", "Qformer.")] = tensor
    state["visual_encoder.patch_embed.weight"] = torch.zeros(2)
    state["Qformer.cls.predictions.decoder.weight"] = torch.zeros(2)
    path = tmp_path / "blip2.pth"
    torch.save({"model": state}, path)
    before = model.qformer.query_tokens.detach().clone()
    model.load_from_pretrained(str(path))
    torch.testing.assert_close(model.qformer.query_tokens, before + 1)


def test_an_encoder_that_would_stay_random_is_refused(model, tiny_bert, tiny_encoder_cfg, tmp_path):
    frozen = {n: t for n, t in model.state_dict().items() if not n.startswith("point_encoder.")}
    torch.save({"model": frozen}, tmp_path / "stage1.pth")
    cfg = OmegaConf.create(
        {
            "point_encoder": tiny_encoder_cfg,
            "qformer_bert": tiny_bert,
            "num_query_token": 4,
            "qformer_width": None,
            "embed_dim": 16,
            "finetuned": str(tmp_path / "stage1.pth"),
        }
    )
    with pytest.raises(CheckpointError, match="point_encoder_weights"):
        PointBlip.from_config(cfg)
    torch.save({"model": model.state_dict()}, tmp_path / "stage1.pth")
    assert PointBlip.from_config(cfg).loaded_checkpoint


def test_class_token_comes_before_the_group_tokens(model, samples):
    model.eval()
    plain = model.encode_cloud(samples)
    model.use_class_token = True
    tokens = model.encode_cloud(samples)
    assert torch.equal(tokens[:, 1:], plain)
    encoded = model.point_encoder(samples["point_cloud"])
    assert torch.equal(tokens[:, 0], encoded.cls_token)


def test_unknown_text_pooling_is_refused(tiny_bert, tiny_encoder_cfg):
    with pytest.raises(ConfigError, match=r"model\.text_pooling"):
        build(tiny_bert, tiny_encoder_cfg, text_pooling="max")


def test_an_encoder_without_class_token_is_told_by_the_key(model, samples):
    model.eval()
    model.use_class_token = True
    encode = model.point_encoder.forward
    model.point_encoder.forward = lambda cloud: encode(cloud)._replace(cls_token=None)
    with pytest.raises(ConfigError, match=r"model\.use_class_token"):
        model.encode_cloud(samples)


DENSE = {"name": "pointnet2_unet", "num_groups": [16, 8, 6, 4], "radius_scale": 2.0}


@pytest.mark.parametrize("dense", [False, True])
def test_objects_of_different_size_equal_each_alone(tiny_bert, tiny_encoder_cfg, samples, dense):
    """Groups are a fixed number of tokens; a token for every point needs the Q-Former's mask."""
    cfg = {**DENSE, "point_dims": 6} if dense else tiny_encoder_cfg
    model = build(tiny_bert, cfg, use_size_token=True, use_pooled_token=True).eval()
    lengths = torch.tensor([64, 50, 33, 64])
    padded = {**samples, "box_size": BOXES, "lengths": lengths}
    with torch.no_grad():
        together = model.embed(padded, "point")
        for row, length in enumerate(lengths.tolist()):
            cloud = samples["point_cloud"][row : row + 1, :length]
            alone = {"point_cloud": cloud, "box_size": BOXES[row : row + 1]}
            expected = model.embed(alone, "point")
            # Products and softmax sums are blocked differently: equal but for rounding.
            torch.testing.assert_close(together[row : row + 1], expected, atol=1e-5, rtol=1e-4)
    assert torch.isfinite(model(padded)["loss"])
    if dense:
        with pytest.raises(ConfigError, match="different numbers of tokens"):
            model.embed_for_matching(padded)


def test_the_release_options_give_lavis_ptc(model, samples):
    """Own text alone, no correction: smoothed cross-entropy against the diagonal."""
    texts = ["a brick", "a brick", "a plate", "a tile"]
    released = {"positives": "row", "correct_repeated_texts": False, "hard_negatives": "floored"}
    model.options = replace(model.options, **released)
    model.eval()
    batch = {**samples, "text_input": texts}
    both = model.extract_features(batch, "both")
    logits = torch.einsum("bqe,ne->bnq", both.point_embeds, both.text_embeds).amax(-1) / model.temp
    target = torch.arange(4)
    halves = [F.cross_entropy(part, target, label_smoothing=0.1) for part in (logits, logits.T)]
    output = model(batch)
    torch.testing.assert_close(output["loss_ptc"], sum(halves) / 2, atol=1e-5, rtol=1e-5)
    assert torch.isfinite(output["loss_ptm"])
    model.options = replace(model.options, positives="drawn", correct_repeated_texts=True)
    assert not torch.isclose(model(batch)["loss_ptc"], output["loss_ptc"])


def test_an_encoder_with_its_own_file_does_not_count_as_fresh(
    tiny_bert, tiny_encoder_cfg, tmp_path, caplog
):
    encoder = build_point_encoder(tiny_encoder_cfg)
    torch.save(encoder.state_dict(), tmp_path / "encoder.pth")
    weights = str(tmp_path / "encoder.pth")
    model = build(tiny_bert, tiny_encoder_cfg, point_encoder_weights=weights)
    state = {n: v for n, v in model.state_dict().items() if not n.startswith("point_encoder.")}
    torch.save({"model": state}, tmp_path / "stage1.pth")
    with caplog.at_level("INFO"):
        model.load_from_pretrained(str(tmp_path / "stage1.pth"))
    assert "0 start fresh" in caplog.text
