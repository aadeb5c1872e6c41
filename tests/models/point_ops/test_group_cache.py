"""The group cache: found again after rotation and scaling, never after another change."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from lavis.common.errors import DataError, ShapeError
from lavis.models.point_encoders.point_bert import PointBert, PointBertConfig
from lavis.models.point_ops import GroupCache, group_indices

IDS = ["a", "b", "c"]
GROUPS = partial(group_indices, num_group=6, group_size=4)


@pytest.fixture
def clouds() -> torch.Tensor:
    return torch.randn(3, 70, 6, generator=torch.Generator().manual_seed(0))


def turned(clouds: torch.Tensor, angle: float = 0.7, scale: float = 0.6) -> torch.Tensor:
    """Rotate about an axis, scale and shift; colour stays."""
    cos, sin = math.cos(angle), math.sin(angle)
    rotation = torch.tensor([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    xyz = scale * clouds[..., :3] @ rotation.T + torch.tensor([0.1, -0.2, 0.3])
    return torch.cat([xyz, clouds[..., 3:]], dim=-1)


def never(clouds: torch.Tensor):
    raise AssertionError("the groups should have been cached")


def same(first, second) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second))


def test_groups_survive_rotation_scale_and_another_batch(clouds):
    cache = GroupCache()
    expected = GROUPS(clouds)
    assert same(cache.lookup(IDS, clouds, GROUPS), expected)
    assert same(cache.lookup(IDS, turned(clouds), never), expected)
    assert same(cache.lookup(IDS, turned(clouds).half(), never), expected)
    swapped = cache.lookup(["c", "a"], turned(clouds)[[2, 0]], never)
    assert same(swapped, [part[[2, 0]] for part in expected])
    assert (cache.hits, cache.misses, len(cache)) == (8, 3, 3)


def test_only_unseen_clouds_are_computed(clouds):
    cache = GroupCache()
    cache.lookup(["b"], clouds[1:2], GROUPS)
    sizes = []

    def compute(batch):
        sizes.append(len(batch))
        return GROUPS(batch)

    assert same(cache.lookup(IDS, clouds, compute), GROUPS(clouds))
    assert sizes == [2]


@pytest.mark.parametrize("change", ["shuffle", "jitter", "anisotropic", "fewer"])
def test_changed_clouds_are_computed_again_with_one_warning(clouds, change, caplog):
    cache = GroupCache()
    cache.lookup(IDS, clouds, GROUPS)
    other = clouds.clone()
    if change == "shuffle":
        other = clouds[:, torch.randperm(70, generator=torch.Generator().manual_seed(1))]
    if change == "jitter":
        other[..., :3] += 0.1 * torch.randn(3, 70, 3, generator=torch.Generator().manual_seed(1))
    if change == "anisotropic":
        other[..., 0] *= 1.3
    if change == "fewer":
        other = clouds[:, :60]
    assert same(cache.lookup(IDS, other, GROUPS), GROUPS(other))
    assert sum("computed again" in record.message for record in caplog.records) == 1


def test_a_full_cache_keeps_what_it_has(clouds, caplog):
    cache = GroupCache(max_bytes=2 * ((6 + 24) * 2 + 32 * 4))
    assert same(cache.lookup(IDS, clouds, GROUPS), GROUPS(clouds))
    assert len(cache) == 2
    assert same(cache.lookup(IDS, clouds, GROUPS), GROUPS(clouds))
    assert (cache.hits, cache.misses) == (2, 4)
    assert sum("full" in record.message for record in caplog.records) == 1


def test_a_file_keeps_the_cache(clouds, tmp_path):
    cache, path = GroupCache(), tmp_path / "groups" / "train.safetensors"
    cache.lookup(IDS, clouds, GROUPS)
    cache.save(path)
    again = GroupCache()
    again.load(path)
    assert same(again.lookup(IDS, turned(clouds), never), GROUPS(clouds))
    assert [file.name for file in path.parent.iterdir()] == ["train.safetensors"]


def test_unusable_files_are_refused(clouds, tmp_path):
    path = tmp_path / "groups.safetensors"
    with pytest.raises(DataError, match="cannot be read"):
        GroupCache().load(path)
    with pytest.raises(DataError, match="empty"):
        GroupCache().save(path)
    cache = GroupCache()
    cache.lookup(IDS, clouds, GROUPS)
    cache.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises(DataError, match="cannot be read"):
        GroupCache().load(path)
    path.write_bytes(whole.replace((70).to_bytes(8, "little"), (2).to_bytes(8, "little")))
    with pytest.raises(DataError, match="damaged"):
        GroupCache().load(path)


def test_ids_must_fit_the_batch(clouds):
    with pytest.raises(ShapeError, match="2 ids"):
        GroupCache().lookup(["a", "b"], clouds, GROUPS)


def test_a_frozen_encoder_gives_the_same_tokens_from_cached_groups(clouds):
    sizes = {"num_group": 6, "group_size": 4, "trans_dim": 32, "depth": 1, "num_heads": 2}
    encoder = PointBert(PointBertConfig(**sizes, encoder_dims=16, point_dims=6)).freeze()
    cache = GroupCache()
    cache.lookup(IDS, clouds, encoder.group_indices)
    augmented = turned(clouds)
    cached = cache.lookup(IDS, augmented, never)
    groups = encoder.group(augmented, cached)
    torch.testing.assert_close(encoder(None, groups).tokens, encoder(augmented).tokens)
