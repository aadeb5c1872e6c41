"""Collation by the field table: stacking, padding, masks, and cutting batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.common.errors import ConfigError, DataError
from lavis.datasets.samples import (
    FIELDS,
    Field,
    batch_size,
    collate,
    instance_ids,
    register_field,
    select,
)


def cloud(count: int, **fields) -> dict:
    """A sample with `count` points."""
    points = torch.arange(count * 6, dtype=torch.float32).view(count, 6)
    return {"point_cloud": points, "object_id": f"o{count}", **fields}


def test_clouds_of_one_size_are_stacked_without_lengths() -> None:
    batch = collate([cloud(4), cloud(4)])
    assert torch.equal(batch["point_cloud"], torch.stack([cloud(4)["point_cloud"]] * 2))
    assert "lengths" not in batch


def test_clouds_of_different_size_are_padded() -> None:
    label = [torch.arange(n, dtype=torch.int32) for n in (3, 5)]
    pixel = [np.full((n, 2), n) for n in (3, 5)]
    batch = collate(
        [
            cloud(n, semantic_label=labels, pixel_of_point=pixels)
            for n, labels, pixels in zip((3, 5), label, pixel)
        ]
    )
    assert batch["lengths"].tolist() == [3, 5]
    assert batch["lengths"].dtype == torch.int64
    assert batch["point_cloud"].shape == (2, 5, 6)
    assert torch.equal(batch["point_cloud"][0, :3], cloud(3)["point_cloud"])
    assert not batch["point_cloud"][0, 3:].any()
    assert batch["semantic_label"].tolist() == [[0, 1, 2, -1, -1], [0, 1, 2, 3, 4]]
    assert batch["semantic_label"].dtype == torch.int64
    assert batch["pixel_of_point"][0, 3:].eq(-1).all()


def test_per_point_fields_of_unequal_length_are_refused() -> None:
    with pytest.raises(DataError, match=r"(?s)object o4.*point_cloud: 4, semantic_label: 3"):
        collate([cloud(4, semantic_label=torch.zeros(3))])


def test_clouds_with_and_without_colour_are_refused_by_object() -> None:
    grey = {"point_cloud": torch.zeros(4, 3), "object_id": "grey"}
    with pytest.raises(DataError, match=r"(?s)shape of point_cloud.*object grey"):
        collate([cloud(4), grey])


def test_a_field_that_some_samples_lack_is_left_out() -> None:
    assert "label" not in collate([cloud(2, label=1), cloud(2)])
    assert "label" not in collate([cloud(2), cloud(2, label=1)])
    labels = collate([cloud(2, label=1), cloud(2, label=0)])["label"]
    assert (labels.tolist(), labels.dtype) == ([1, 0], torch.int64)


def test_absent_images_are_masked_and_views_are_padded() -> None:
    views = [torch.rand(count, 3, 2, 2) for count in (1, 3)]
    batch = collate([cloud(2, image=views[0]), cloud(2), cloud(2, image=views[1])])
    assert batch["image"].shape == (3, 3, 3, 2, 2)
    assert batch["image_mask"].tolist() == [[True, False, False], [False] * 3, [True] * 3]
    assert torch.equal(batch["image"][2], views[1])
    assert not batch["image"][1].any()


def test_masks_that_come_with_a_sample_are_kept() -> None:
    sample = cloud(2, image=torch.rand(2, 3, 2, 2), image_mask=torch.tensor([True, False]))
    batch = collate([sample, cloud(2)])
    assert batch["image_mask"].tolist() == [[True, False], [False, False]]


def test_embeddings_of_some_samples_are_masked() -> None:
    batch = collate([cloud(2), cloud(2, text_embeds=torch.ones(4))])
    assert batch["text_embeds"].tolist() == [[0] * 4, [1] * 4]
    assert batch["text_embeds_mask"].tolist() == [False, True]


def test_unknown_fields_follow_their_values() -> None:
    samples = [cloud(2, depth=np.ones(3), note="a", pair=(1, 2)) for _ in range(2)]
    batch = collate(samples)
    assert batch["depth"].shape == (2, 3)
    assert batch["note"] == ["a", "a"]
    assert batch["pair"] == [(1, 2), (1, 2)]
    with pytest.raises(DataError, match=r"(?s)shape of depth.*object o2.*register the field"):
        collate([cloud(2, depth=np.ones(3)), cloud(2, depth=np.ones(2))])


def test_a_registered_field_is_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("depth", "point_weight"):
        monkeypatch.delitem(FIELDS, name, raising=False)
    register_field("depth", Field("[B,V]", "pad", fill=-1.0))
    batch = collate([cloud(2, depth=torch.ones(1)), cloud(2, depth=torch.ones(2))])
    assert batch["depth"].tolist() == [[1, -1], [1, 1]]
    with pytest.raises(ConfigError, match="name exists"):
        register_field("depth", Field("[B]"))
    register_field("point_weight", Field("[B,N]", "pad", per_point=True))
    with pytest.raises(DataError, match="differ in length"):
        collate([cloud(2, point_weight=torch.ones(3))])
    del FIELDS["depth"], FIELDS["point_weight"]


def test_no_samples_are_refused() -> None:
    with pytest.raises(DataError, match="without samples"):
        collate([])


def test_size_ids_and_selection() -> None:
    batch = collate(
        [cloud(n, instance_id=f"i{n}", image=torch.rand(1, 3, 2, 2)) for n in (1, 2, 3)]
    )
    assert batch_size(batch) == 3
    assert instance_ids(batch) == ["i1", "i2", "i3"]
    for rows in (torch.tensor([2, 0]), torch.tensor([True, False, True])):
        part = select(batch, rows)
        order = [2, 0] if rows.dtype != torch.bool else [0, 2]
        assert part["object_id"] == [f"o{n + 1}" for n in order]
        assert torch.equal(part["lengths"], batch["lengths"][order])
        assert torch.equal(part["point_cloud"], batch["point_cloud"][order])
        assert batch_size(part) == 2
    assert select({**batch, "prompt": "a"}, torch.tensor([1]))["prompt"] == "a"
    with pytest.raises(DataError, match="texts"):
        select({**batch, "texts": ["a"]}, torch.tensor([1]))


def test_batches_without_a_mapping_have_a_size() -> None:
    assert batch_size(torch.zeros(5, 2)) == 5
    assert batch_size({"loss": torch.tensor(1.0)}) == 1
    assert instance_ids(torch.zeros(2)) == []


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=5), data=st.data())
def test_a_batch_keeps_every_sample(sizes: list[int], data: st.DataObject) -> None:
    samples = [
        cloud(n, semantic_label=torch.arange(n), image=torch.full((n % 3, 3, 1, 1), float(n)))
        for n in sizes
    ]
    batch = collate(samples)
    assert ("lengths" in batch) == (len(set(sizes)) > 1)
    rows = data.draw(st.lists(st.integers(0, len(sizes) - 1), min_size=1, max_size=6))
    part = select(batch, torch.tensor(rows))
    for place, row in enumerate(rows):
        sample, count = samples[row], sizes[row]
        for name in ("point_cloud", "semantic_label"):
            assert torch.equal(part[name][place, :count], sample[name])
        mask = part["image_mask"][place]
        assert torch.equal(part["image"][place][mask], sample["image"])
        assert part["object_id"][place] == sample["object_id"]
