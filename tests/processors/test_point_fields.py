"""Every registered transform, and every processor, keeps all fields in step with their points."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lavis.common.registry import registry

import lavis  # noqa: F401  (registers processors)
from lavis.common.errors import DataError
from lavis.datasets.samples import FIELDS
from lavis.processors.point_transforms import TRANSFORMS, PointFields, take_points

# One or more settings of each transform.
EXAMPLES = {
    "SelectColor": [(True, 0.5), (False, None)],
    "Resample": [(7, "random"), (40, "random"), (7, "first"), (7, "fps"), (40, "fps")],
    "Normalize": [()],
    "RotateUp": [(180.0,)],
    "Scale": [(0.5, 2.0)],
    "Shift": [(0.3,)],
    "Jitter": [(0.02, 0.05)],
    "DropPoints": [(0.9,)],
    "DropColor": [(0.5, 0.4)],
    "Tilt": [(0.06, 0.18)],
    "CropBox": [(1.5,)],
    "CropSphere": [(1.0,)],
    "Elastic": [(0.4, 0.5, 0.7)],
    "ColorContrast": [(0.5,)],
    "ColorJitter": [(0.1, 0.05)],
}
CASES = [(name, arguments) for name, choices in EXAMPLES.items() for arguments in choices]
POINT_PROCESSORS = (
    *("point_train", "point_eval", "point_objaverse_train", "scene_train", "scene_eval"),
    *(
        f"point_{system}_{mode}"
        for system in ("pointblip", "openshape", "mixcon3d", "pointllm")
        for mode in ("train", "eval")
    ),
)
# What describes the place or colour of a point may change; everything else may only move.
CHANGING = {"xyz", "rgb", "normal"}


def labelled(count: int, seed: int = 0) -> PointFields:
    """A cloud whose every further field tells the place of its point in the cloud."""
    rng, place = np.random.default_rng(seed), np.arange(count)
    return {
        "xyz": rng.normal(size=(count, 3)).astype(np.float32),
        "rgb": rng.random((count, 3), dtype=np.float32),
        "normal": rng.normal(size=(count, 3)).astype(np.float32),
        "semantic_label": place % 5,
        "instance_label": place,
        "pixel_of_point": np.stack([place, -place], axis=1),
        "weight": place.astype(np.float16),
    }


def test_every_registered_transform_has_an_example() -> None:
    assert set(EXAMPLES) == set(TRANSFORMS)


@pytest.mark.parametrize(("name", "arguments"), CASES)
@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 30), seed=st.integers(0, 99))
def test_fields_follow_their_points(name: str, arguments: tuple, count: int, seed: int) -> None:
    points = labelled(count, seed)
    before = {key: values.copy() for key, values in points.items()}
    transform = TRANSFORMS[name](*arguments)
    out = transform(points, np.random.default_rng(seed))

    place = out["instance_label"]  # where every point came from
    assert len({len(values) for values in out.values()}) == 1
    for key in set(points) - CHANGING:
        np.testing.assert_array_equal(out[key], points[key][place])
        assert out[key].dtype == points[key].dtype
    # What happens to a point does not depend on the further fields.
    alone = {key: points[key] for key in ("xyz", "rgb")}
    expected = transform(alone, np.random.default_rng(seed))
    for key in expected:
        np.testing.assert_array_equal(out[key], expected[key])
    for key, values in before.items():
        np.testing.assert_array_equal(points[key], values)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), count=st.integers(1, 20))
def test_take_points_moves_every_field(data: st.DataObject, count: int) -> None:
    points = labelled(count)
    index = np.array(data.draw(st.lists(st.integers(0, count - 1), max_size=40)), dtype=np.int64)
    taken = take_points(points, index)
    for key, values in points.items():
        np.testing.assert_array_equal(taken[key], values[index])


@pytest.mark.parametrize("name", POINT_PROCESSORS)
@pytest.mark.parametrize("num_points", [8, 60])
def test_processors_take_named_fields(name: str, num_points: int) -> None:
    processor = registry.get_processor_class(name).from_config(
        {"num_points": num_points, "use_color": True, "missing_color": 0.5}
    )
    points = labelled(30)
    fields = processor(points, rng=np.random.default_rng(1))
    columns = np.concatenate([points["xyz"], points["rgb"]], axis=1)
    assert torch.equal(fields["point_cloud"], processor(columns, rng=np.random.default_rng(1)))
    place = fields["instance_label"]
    assert fields["semantic_label"].tolist() == (place % 5).tolist()
    assert fields["pixel_of_point"].tolist() == [[p, -p] for p in place.tolist()]
    assert {len(values) for values in fields.values()} == {num_points}


@pytest.mark.parametrize("name", POINT_PROCESSORS)
def test_fields_of_unequal_length_are_refused(name: str) -> None:
    processor = registry.get_processor_class(name).from_config({"num_points": 8})
    points = labelled(30)
    points["semantic_label"] = points["semantic_label"][:-1]
    with pytest.raises(DataError, match=r"(?s)differ in length.*semantic_label: 29"):
        processor(points)


def test_the_fields_of_the_table_are_tested() -> None:
    known = {name for name, field in FIELDS.items() if field.per_point} - {"point_cloud"}
    assert known <= set(labelled(1)), "add the new per-point field to `labelled`"
    assert all(FIELDS[name].collate == "pad" for name in known)
