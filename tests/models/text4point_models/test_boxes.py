"""Boxes: inside, overlap, suppression; turned boxes as in the data sets."""

from __future__ import annotations

import math

import numpy as np
import torch

from lavis.models.text4point_models.boxes import aligned_iou, around, inside, suppress
from lavis.processors.point_transforms import rotation_xyz


def test_points_are_inside_a_box_as_the_data_sets_turn_it():
    box = torch.tensor([[1.0, 0.5, -1.0, 2.0, 1.0, 0.4, 0.7]])
    local = torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) * 2.4 - 1.2
    turned = local.numpy() @ rotation_xyz(0.0, 0.7, 0.0).T
    expected = (local.abs() <= torch.tensor([1.0, 0.5, 0.2])).all(1)
    points = torch.from_numpy(turned).float() + box[:, :3]
    assert torch.equal(inside(points, box)[:, 0], expected)
    assert expected.any()


def test_the_box_around_a_turned_one_holds_its_corners():
    box = torch.tensor([[0.0, 0.0, 0.0, 2.0, 1.0, 0.4, math.pi / 3]])
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-0.5, 0.5) for z in (-0.2, 0.2)])
    turned = corners @ rotation_xyz(0.0, math.pi / 3, 0.0).T
    size = around(box)[0, 3:].numpy()
    np.testing.assert_allclose(np.ptp(turned, axis=0), size, atol=1e-6)


def test_overlap_of_equal_half_and_distant_boxes():
    box = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    others = torch.stack([box, box + torch.tensor([0.5, 0, 0, 0, 0, 0]), box + 3.0])
    torch.testing.assert_close(aligned_iou(box, others), torch.tensor([1.0, 1 / 3, 0.0]))


def test_the_worse_of_two_boxes_of_one_class_goes():
    box = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    boxes = torch.stack([box, box, box, box + torch.tensor([2.0, 0, 0, 0, 0, 0])])
    labels, scores = torch.tensor([1, 1, 2, 1]), torch.tensor([0.3, 0.9, 0.5, 0.4])
    assert suppress(boxes, labels, scores, most=0.25).tolist() == [1, 2, 3]
    assert suppress(boxes[:0], labels[:0], scores[:0], most=0.25).tolist() == []


def test_a_box_that_went_suppresses_no_other():
    shift = torch.tensor([0.4, 0, 0, 0, 0, 0])
    box = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    boxes, labels = torch.stack([box, box + shift, box + 2 * shift]), torch.zeros(3).long()
    kept = suppress(boxes, labels, torch.tensor([0.9, 0.8, 0.7]), most=0.3)
    assert kept.tolist() == [0, 2]
