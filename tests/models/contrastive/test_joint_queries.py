"""Mixed queries, and the exact search in a gallery of objects."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lavis.common.errors import ConfigError, DataError, ShapeError
from lavis.models.contrastive.joint_queries import Found, ObjectGallery, mix_embeddings
from lavis.tasks.embedding_export import as_safetensors


def test_a_mixed_query_lies_between_its_parts():
    a, b = F.normalize(torch.randn(2, 1, 8), dim=-1)
    mixed = mix_embeddings([a, b], [1.0, 0.5])
    torch.testing.assert_close(mixed, F.normalize(a + 0.5 * b, dim=-1))


@pytest.fixture
def gallery(tmp_path):
    path = tmp_path / "gallery.safetensors"
    axes = torch.eye(3)
    two = torch.stack([axes, axes.flip(0)], 1)  # every object has two embeddings
    path.write_bytes(as_safetensors(list("abc"), {"point": two, "image": axes}, "minilm"))
    return path


def test_the_best_embedding_of_an_object_counts(gallery):
    query = torch.tensor([2.0, 1.0, 0.0])
    found = ObjectGallery(gallery, "image").search(query, 2)
    assert [one.object_id for one in found] == ["a", "b"]
    assert found[0].score == pytest.approx(2 / 5**0.5)
    both = ObjectGallery(gallery).search(torch.tensor([0.0, 0.0, 3.0]), 10)
    assert [one.object_id for one in both][2] == "b"
    assert both[2] == Found("b", 0.0)


def test_other_spaces_widths_and_modalities_are_refused(gallery, tmp_path):
    with pytest.raises(ConfigError, match=r"another joint space[\s\S]*imagebind"):
        ObjectGallery(gallery, space="imagebind")
    with pytest.raises(ShapeError, match="does not fit"):
        ObjectGallery(gallery, space="minilm").search(torch.zeros(4))
    with pytest.raises(DataError, match="audio_embeds"):
        ObjectGallery(gallery, "audio")
    with pytest.raises(DataError, match="absent"):
        ObjectGallery(tmp_path / "absent")
