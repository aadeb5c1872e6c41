"""Pairs of a point and the pixel it comes from, drawn from RGB-D frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lavis.common.errors import DataError
from lavis.models.point_encoders.cloud_input import valid_rows


class Pairs(NamedTuple):
    """Drawn pairs.

    Attributes:
        cloud, point: Long [P], the frame and its point.
        pixel: Long [P,2], column and row; 0 where invalid.
        valid: bool [P]; a batch with fewer points in view is filled up with invalid pairs.
    """

    cloud: Tensor
    point: Tensor
    pixel: Tensor
    valid: Tensor


def frame_images(samples: Mapping[str, Any]) -> Tensor:
    """Return the images of a batch of frames: float [B,3,H,W].

    Raises:
        DataError: the batch is not of frames: no image, no pixels of points, or several images.
    """
    needed = ("point_cloud", "image", "pixel_of_point")
    absent = [name for name in needed if samples.get(name) is None]
    fix = "use a data set of RGB-D frames (rooms_frames, sunrgbd_frames)"
    if absent:
        what, got = "pre-training needs RGB-D frames", f"no {', '.join(absent)}"
        raise DataError(what, where=_names(samples), got=got, fix=fix)
    image, mask = samples["image"], samples.get("image_mask")
    if image.ndim != 5 or image.shape[1] != 1 or (mask is not None and not bool(mask.all())):
        what, got = "every frame needs one image", f"image {list(image.shape)}"
        expected = "[B,1,3,H,W], without absent images"
        raise DataError(what, where=_names(samples), got=got, expected=expected, fix=fix)
    return image[:, 0]


def draw_pairs(
    samples: Mapping[str, Any], count: int, size: tuple[int, int], generator: Any = None
) -> Pairs:
    """Draw `count` points in view from a batch, without repeating one.

    Args:
        samples: `pixel_of_point` Long [B,N,2], -1 where a point has no pixel; `lengths`.
        count: P.
        size: (H, W) of the images.
        generator: of the choice; None: torch's own.

    Raises:
        DataError: a pixel lies outside the image, as where images and depth differ in size.
    """
    pixel, lengths = samples["pixel_of_point"].cpu(), samples.get("lengths")
    in_view = (pixel >= 0).all(-1)  # [B,N]
    if lengths is not None:
        in_view &= valid_rows(lengths.cpu(), pixel.shape[1])
    _check_inside(pixel, in_view, size, samples)
    cloud, point = in_view.nonzero().T  # [V]
    chosen = torch.randperm(len(cloud), generator=generator)[:count]
    valid = torch.arange(count) < len(chosen)
    fill = torch.zeros(count - len(chosen), dtype=torch.long)
    cloud, point = torch.cat([cloud[chosen], fill]), torch.cat([point[chosen], fill])
    return Pairs(cloud, point, pixel[cloud, point] * valid[:, None], valid)


def _check_inside(
    pixel: Tensor, in_view: Tensor, size: tuple[int, int], samples: Mapping[str, Any]
) -> None:
    height, width = size
    outside = ((pixel[..., 0] >= width) | (pixel[..., 1] >= height)) & in_view
    if bool(outside.any()):
        row, column = outside.nonzero()[0].tolist()
        what, got = "a point's pixel lies outside the image", pixel[row, column].tolist()
        expected = f"column below {width}, row below {height}"
        fix = "give image and depth of a frame one size"
        where = _names(samples, row)
        raise DataError(what, where=where, got=got, expected=expected, fix=fix)


def _names(samples: Mapping[str, Any], row: int | None = None) -> str:
    ids = [str(name) for name in samples.get("instance_id", [])]
    return "batch" if not ids else ", ".join(ids[:5] if row is None else ids[row : row + 1])
