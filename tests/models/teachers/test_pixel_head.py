"""The pixel head: trained on labels of pixels, read as an image teacher, kept from other files."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lavis.common.errors import CheckpointError, DataError
from lavis.models.teachers import SentenceTeacher, train_pixel_head
from lavis.models.teachers.dense import PixelHeadMaps, dense_teacher
from lavis.models.teachers.image import FEATURES
from lavis.models.teachers.pixel_head import PixelHead, holds_pixel_head, save_pixel_head
from lavis.models.teachers.train_pixel_head import LabelledPixels, evaluate
from lavis.models.teachers.train_pixel_head import train_pixel_head as train

NAMES = ["red wall", "green floor"]


@pytest.fixture(scope="module")
def sentences(tiny_bert) -> SentenceTeacher:
    return SentenceTeacher(tiny_bert)


@pytest.fixture(scope="module")
def conse(sentences):
    return dense_teacher("conse", sentences)


def frames(count: int = 2, labelled: bool = True) -> dict:
    """Red above, green below; the label of a row of pixels in the middle is not known."""
    height, width = 64, 96
    image = torch.zeros(count, 1, 3, height, width)
    image[:, :, 0, : height // 2] = 0.8
    image[:, :, 1, height // 2 :] = 0.8
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([columns, rows], -1).flatten(0, 1)
    pixels = pixels[torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))]
    label = (pixels[:, 1] >= height // 2).long()
    label[pixels[:, 1] == height // 2] = -1
    samples = {"image": image, "pixel_of_point": pixels.expand(count, -1, -1)}
    samples["instance_id"] = [f"room/{n}" for n in range(count)]
    return samples | ({"semantic_label": label.expand(count, -1)} if labelled else {})


def test_pixels_without_a_label_do_not_count_and_a_frame_has_a_limit():
    samples = frames()
    samples["pixel_of_point"] = samples["pixel_of_point"].clone()
    samples["pixel_of_point"][1, ::2] = -1  # no pixel
    samples["semantic_label"] = samples["semantic_label"].clone()
    samples["semantic_label"][1, 1000:] = -1
    batch = LabelledPixels(samples)
    assert (batch.label >= 0).all()
    assert (batch.pixel >= 0).all()
    assert torch.bincount(batch.frame)[0] == train_pixel_head.PIXELS
    assert torch.bincount(batch.frame)[1] == (samples["semantic_label"][1, 1:1000:2] >= 0).sum()
    below = batch.pixel[:, 1] > 32
    assert torch.equal(batch.label, below.long())


def test_a_head_learns_which_text_a_pixel_has(sentences, conse):
    texts = sentences(NAMES)
    head = train(conse, iter([frames()] * 30), texts, steps=30)
    assert not head.training
    batch = LabelledPixels(frames())
    maps = head(*conse.maps(batch.images))
    assert maps.shape == (2, sentences.embed_dim, 16, 24)
    torch.testing.assert_close(maps.norm(dim=1), torch.ones(2, 16, 24))
    right = (batch.of(maps) @ texts.T).argmax(1) == batch.label
    assert right.float().mean() > 0.9
    report = evaluate({"head": lambda images: head(*conse.maps(images))}, [frames()], texts, NAMES)
    assert report["head"]["miou"]["value"] > 0.8
    assert report["chance"]["accuracy"]["value"] == pytest.approx(0.5)


def test_frames_without_a_labelled_pixel_teach_nothing(sentences, conse):
    empty = frames()
    empty["semantic_label"] = torch.full_like(empty["semantic_label"], -1)
    head = train(conse, iter([empty, frames()]), sentences(NAMES), steps=2)
    assert all(p.isfinite().all() for p in head.parameters())


def test_its_file_is_an_image_teacher(tmp_path, sentences, conse):
    torch.manual_seed(0)
    head = PixelHead(conse.stage_dims, FEATURES, sentences.embed_dim, hidden=8)
    path = tmp_path / "head.safetensors"
    save_pixel_head(path, head, sentences.space)
    assert holds_pixel_head(path)
    teacher = dense_teacher(str(path), sentences)
    assert isinstance(teacher, PixelHeadMaps)
    assert not any(p.requires_grad for p in teacher.parameters())
    images = frames()["image"][:, 0]
    maps = teacher(images)
    torch.testing.assert_close(maps.embeds, head(*conse.maps(images)))
    torch.testing.assert_close(maps.stages, conse(images).stages)


def test_another_file_is_refused(tmp_path, sentences, conse):
    head = PixelHead(conse.stage_dims, FEATURES, sentences.embed_dim, hidden=8)
    path = tmp_path / "head.safetensors"
    save_pixel_head(path, head, sentences.space)
    weights = load_file(path)
    weights.pop("out.weight")
    save_file(weights, path, metadata={"space": sentences.space, "kind": "pixels"})
    with pytest.raises(
        CheckpointError, match=r"(?s)head of a teacher cannot be read.*train_pixel_head"
    ):
        dense_teacher(str(path), sentences)
    assert not holds_pixel_head(tmp_path / "none.safetensors")


def test_frames_without_labels_are_refused():
    with pytest.raises(DataError, match="frames with labels"):
        LabelledPixels(frames(labelled=False))


def test_the_command_writes_head_and_report(tmp_path, monkeypatch, tiny_bert, capsys):
    class Frames(list):
        class_names = NAMES

        def collater(self, items):
            return frames(len(items))

    few = {"train": Frames(range(5)), "val": Frames(range(3))}
    monkeypatch.setattr(train_pixel_head, "load_dataset", lambda name: few)
    out = tmp_path / "head.safetensors"
    arguments = ["--out", str(out), "--text-teacher", tiny_bert, "--steps", "3", "--limit", "2"]
    assert train_pixel_head.main(arguments) == 0
    report = json.loads(out.with_suffix(".json").read_text())
    assert report["frames"] == 2
    assert set(report["val"]) == {"pixel_head", "conse", "chance"}
    assert "pixel_head: miou" in capsys.readouterr().out
    assert holds_pixel_head(out)
