"""Pre-training: pairs of points and pixels, maps at pixels, the network, the two terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch.nn import functional as F

from lavis.common.errors import ConfigError, DataError
from lavis.models.teachers.image_decoder import ImageDecoder, at_pixels
from lavis.models.text4point_models.network import Text4PointNetwork
from lavis.models.text4point_models.pairs import draw_pairs, frame_images
from lavis.models.text4point_models.text4point import Text4Point, Text4PointConfig
from lavis.models.text4point_models.text_query import TextQuery

SIZE = (24, 32)  # height, width


@pytest.fixture
def frames() -> dict[str, Any]:
    """Two frames: every pixel has a point in the first, 100 points the second."""
    generator = torch.Generator().manual_seed(0)
    height, width = SIZE
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixel = torch.stack([columns, rows], -1).flatten(0, 1)  # [768,2]
    pixels = torch.stack([pixel, pixel[torch.randperm(768, generator=generator)]])
    depth = 2 + torch.rand(2, 768, 1, generator=generator)
    xyz = torch.cat([pixels / 16 - 1, depth], -1)
    image = torch.rand(2, 1, 3, *SIZE, generator=generator)
    rgb = torch.stack([image[b, 0, :, pixels[b, :, 1], pixels[b, :, 0]].T for b in range(2)])
    return {
        "point_cloud": torch.cat([xyz, rgb], -1),
        "pixel_of_point": pixels,
        "lengths": torch.tensor([768, 100]),
        "image": image,
        "image_mask": torch.ones(2, 1, dtype=torch.bool),
        "instance_id": ["room/0", "room/1"],
    }


@pytest.fixture
def build(tiny_bert) -> Callable[..., Text4Point]:
    """Return a maker of seeded tiny models."""

    def make(**keys: Any) -> Text4Point:
        torch.manual_seed(0)
        encoder = {"name": "sparse_unet", "point_dims": 6, "widths": [8, 12], "voxel_size": 0.1}
        section = {"point_encoder": encoder, "text_teacher": tiny_bert, "embed_dim": 32}
        section |= {"query_heads": 2, "labels": ["wall", "chair"], "decoder_dim": 8, "pairs": 64}
        return Text4Point.from_config(OmegaConf.create(section | keys))

    return make


def test_pairs_are_points_in_view_drawn_once(frames):
    frames["pixel_of_point"][0, ::2] = -1
    pairs = draw_pairs(frames, 200, SIZE)
    assert pairs.valid.all()
    assert len(set(zip(pairs.cloud.tolist(), pairs.point.tolist()))) == 200
    assert torch.equal(pairs.pixel, frames["pixel_of_point"][pairs.cloud, pairs.point])
    assert (pairs.pixel >= 0).all()
    assert (pairs.point < frames["lengths"][pairs.cloud]).all()


@pytest.mark.parametrize("in_view", [0, 1, 30])
def test_too_few_points_in_view_are_filled_with_invalid_pairs(frames, in_view):
    frames["pixel_of_point"][0, in_view:] = -1
    frames["pixel_of_point"][1] = -1
    pairs = draw_pairs(frames, 50, SIZE)
    assert pairs.valid.sum() == in_view
    assert len(pairs.point) == 50
    assert (pairs.pixel >= 0).all()


def test_a_generator_repeats_the_pairs(frames):
    drawn = [draw_pairs(frames, 9, SIZE, torch.Generator().manual_seed(1)) for _ in range(2)]
    assert all(torch.equal(*parts) for parts in zip(*drawn))


@pytest.mark.parametrize("pixel", [[32, 0], [0, 24], [400, 400]])
def test_pixels_outside_the_image_are_refused_by_frame(frames, pixel):
    frames["pixel_of_point"][1, 7] = torch.tensor(pixel)
    with pytest.raises(DataError, match=r"(?s)outside the image.*room/1.*below 32"):
        draw_pairs(frames, 9, SIZE)


@pytest.mark.parametrize("absent", ["image", "pixel_of_point"])
def test_batches_without_frames_are_refused(frames, absent):
    del frames[absent]
    with pytest.raises(DataError, match=rf"(?s)needs RGB-D frames.*room/0.*{absent}"):
        frame_images(frames)


@pytest.mark.parametrize("kind", ["views", "absent"])
def test_a_frame_has_one_image(frames, kind):
    if kind == "views":
        frames["image"] = frames["image"].expand(2, 3, 3, *SIZE)
    else:
        frames["image_mask"][1] = False
    with pytest.raises(DataError, match="one image"):
        frame_images(frames)


def test_values_at_pixels_are_those_of_maps_in_full_size():
    maps = torch.rand(2, 5, *SIZE)
    image, pixel = torch.tensor([1, 0, 1]), torch.tensor([[3, 4], [31, 23], [0, 0]])
    expected = maps[image, :, pixel[:, 1], pixel[:, 0]]
    torch.testing.assert_close(at_pixels(maps, image, pixel, SIZE), expected)


def test_values_between_cells_are_mixed():
    maps = torch.tensor([[[[0.0, 1.0]]]])  # two cells of two pixels each
    pixel = torch.tensor([[0, 0], [1, 0], [2, 0], [3, 0]])
    found = at_pixels(maps, torch.zeros(4, dtype=torch.long), pixel, (1, 4))
    torch.testing.assert_close(found[:, 0], torch.tensor([0.0, 0.25, 0.75, 1.0]))


def test_the_decoder_reads_every_stage():
    decoder = ImageDecoder((4, 6), 10, 8)
    coarse, stages = torch.rand(2, 10, 2, 3), [torch.rand(2, 4, 8, 12), torch.rand(2, 6, 4, 6)]
    out = decoder(coarse, stages)
    assert out.shape == (2, 8, 8, 12)
    for stage in range(2):
        changed = [part + (index == stage) for index, part in enumerate(stages)]
        assert not torch.allclose(decoder(coarse, changed), out)


def test_text_query_is_attention_over_the_texts():
    query = TextQuery(12, 2).eval()
    tokens, cells, text = torch.randn(5, 12), torch.randint(0, 9, (5, 3)), torch.randn(4, 12)
    found = query(tokens, cells, text)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(query(tokens, cells, text[order]), found)
    torch.testing.assert_close(query(tokens[:2], cells[:2], text), found[:2])
    assert not torch.allclose(query(tokens, cells + 1, text), found)


@pytest.mark.parametrize("clouds", [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
def test_clouds_can_have_texts_of_their_own(clouds):
    query, cloud = TextQuery(12, 2).eval(), torch.tensor(clouds)
    tokens, cells, text = torch.randn(5, 12), torch.randint(0, 9, (5, 3)), torch.randn(2, 4, 12)
    found = query.per_cloud(tokens, cells, cloud, text)
    for row in range(5):
        alone = query(tokens[row : row + 1], cells[row : row + 1], text[clouds[row]])
        torch.testing.assert_close(found[row : row + 1], alone)


def test_alpha_and_beta_weigh_tokens_and_texts(build, frames):
    cloud, text = frames["point_cloud"], F.normalize(torch.randn(2, 32), dim=-1)
    plain = build(beta=0.0).eval().network
    without = build(text_query=False).eval().network
    assert not any("text_query" in name for name, _ in without.named_parameters())
    without.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(plain(cloud, text).point_features, without(cloud, text).point_features)
    mixed = build().eval().network
    assert not torch.allclose(mixed(cloud, text).point_features, mixed(cloud, None).point_features)


def test_both_terms_are_infonce_of_the_drawn_pairs(build, frames):
    model = build().eval()
    losses = model(frames)
    pairs = model.draw(frames, SIZE)
    output = model._encode(frames, model.class_names)
    maps = model.image_teacher(frames["image"][:, 0])
    embeds, keys = model.pair_embeds(output, maps, pairs, SIZE)
    logits = model.config.init_scale * embeds["point"] @ embeds["image"].T
    rows = torch.arange(64)
    expected = (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, rows)) / 2
    torch.testing.assert_close(losses["loss_decoder"], expected)
    same = keys["encoder"][:, None] == keys["encoder"]  # one token, one embedding
    torch.testing.assert_close((embeds["token"] @ embeds["token"].T)[same], torch.ones(same.sum()))
    torch.testing.assert_close(losses["loss"], losses["loss_encoder"] + losses["loss_decoder"])


@pytest.mark.parametrize("left_out", ["encoder_loss", "decoder_loss"])
def test_a_term_can_be_left_out(build, frames, left_out):
    losses = build(**{left_out: 0.0})(frames)
    kept = {"encoder_loss": "loss_decoder", "decoder_loss": "loss_encoder"}[left_out]
    assert set(losses) == {"loss", kept}


def test_a_batch_without_points_in_view_has_no_gradient_but_a_warning(build, frames, caplog):
    frames["pixel_of_point"][:] = -1
    model = build().train()
    loss = model(frames)["loss"]
    loss.backward()
    assert loss == 0
    assert all(not p.grad.any() for p in model.network.to_text.parameters())
    assert "No point in view in ['room/0', 'room/1']" in caplog.text


def test_points_learn_their_pixels(build, frames):
    torch.manual_seed(0)
    model = build().train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 3e-3)
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = model(frames)["loss_decoder"]
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5


def test_points_are_compared_with_any_words(build, frames):
    model = build().eval()
    assert model.segment_points(frames).shape == (2, 768, 2)
    words = ["floor lamp", "bed", "window"]
    found = model.segment_points(frames, words)
    assert found.shape == (2, 768, 3)
    assert found.abs().max() <= 1.0001
    assert not found[1, 100:].any()


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"encoder_loss": 0.0, "decoder_loss": 0.0}, "needs a loss"),
        ({"query_heads": 5}, "query_heads"),
        ({"labels": []}, "labels"),
        ({"point_encoder": {"name": "point_bert"}}, "dense encoder"),
        ({"embed_dim": 30}, "embed_dim"),
    ],
)
def test_configurations_that_cannot_be_used_are_refused(build, keys, named):
    with pytest.raises(ConfigError, match=named):
        build(**keys)


def test_the_defaults_fit_the_fine_tuned_models():
    network = Text4PointNetwork(Text4PointConfig())
    assert (network.embed_dim, network.point_dim) == (384, 32)


def test_points_come_near_the_embeddings_of_their_pixels(build, frames):
    """The layer behind them is the head of segmentation, by name."""
    model = build(encoder_loss=0.0, decoder_loss=0.0, pixel_loss=2.0)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(15):
        out = model(frames)
        assert set(out) == {"loss", "loss_pixel"}
        torch.testing.assert_close(out["loss"], 2 * out["loss_pixel"])
        optimizer.zero_grad()
        out["loss"].backward()
        optimizer.step()
        losses.append(float(out["loss_pixel"].detach()))
    assert losses[-1] < 0.7 * losses[0]
    assert 0 <= losses[-1] <= losses[0] <= 2
    both = build(pixel_loss=1.0)(frames)
    parts = both["loss_encoder"] + both["loss_decoder"] + both["loss_pixel"]
    torch.testing.assert_close(both["loss"], parts)
    assert "to_label.weight" in model.state_dict()
    assert "to_label.weight" not in build().state_dict()


def test_pixels_without_a_point_do_not_count(build, frames):
    model = build(encoder_loss=0.0, decoder_loss=0.0, pixel_loss=1.0)
    frames["pixel_of_point"] = torch.full_like(frames["pixel_of_point"], -1)
    assert model(frames)["loss_pixel"] == 0
