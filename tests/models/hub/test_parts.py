"""Encoders and the Q-Former as shared folders."""

from __future__ import annotations

import pytest
import torch

from lavis.common.errors import CheckpointError
from lavis.models.point_encoders import PointBert, PointEncoder, PointNet2, build_point_encoder
from lavis.models.qformer.layers import QFormerConfig
from lavis.models.qformer.qformer import QFormer

SMALL = (
    {"name": "point_bert", "trans_dim": 24, "depth": 1, "num_heads": 2, "encoder_dims": 24}
    | {"num_group": 4, "group_size": 4, "stem_dims": [8, 8, 8]},
    {"name": "pointnet2"},
)


@pytest.mark.parametrize("section", SMALL, ids=lambda section: section["name"])
def test_an_encoder_is_the_same_after_loading(section, tmp_path):
    torch.manual_seed(0)
    encoder = build_point_encoder(section).eval()
    encoder.save_pretrained(tmp_path)
    cloud = torch.rand(1, 512, encoder.in_channels)
    with torch.no_grad():
        wanted = encoder(cloud)
        for loaded in (
            type(encoder).from_pretrained(tmp_path),
            PointEncoder.from_pretrained(tmp_path),
        ):
            assert torch.equal(loaded(cloud).tokens, wanted.tokens)
    assert (tmp_path / "README.md").is_file()


def test_a_qformer_is_the_same_after_loading(tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = QFormerConfig(**sizes, intermediate_size=16, vocab_size=40, encoder_width=8)
    qformer = QFormer(config).eval()
    qformer.save_pretrained(tmp_path)
    loaded = QFormer.from_pretrained(tmp_path)
    assert loaded.config == config
    cloud = torch.rand(2, 3, 8)
    with torch.no_grad():
        states, _ = qformer.query_pass(qformer.project_cloud(cloud))
        again, _ = loaded.query_pass(loaded.project_cloud(cloud))
    assert torch.equal(states, again)


def test_another_encoder_or_part_is_refused(tmp_path):
    build_point_encoder(SMALL[0]).save_pretrained(tmp_path)
    assert PointBert.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="another encoder"):
        PointNet2.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="something else"):
        QFormer.from_pretrained(tmp_path)
