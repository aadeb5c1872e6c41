"""Images of an object: files, or rendered views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lavis.common.errors import DataError, DependencyError
from lavis.common.files import file_below
from lavis.datasets.datasets.annotations import Entry
from lavis.datasets.readers.files import DAMAGE
from lavis.datasets.rendering.view_store import ViewStore
from lavis.datasets.samples import Sample


def to_unit_range(pixels: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Return uint8 pixels [H,W,3] as float32 [3,H,W] in [0,1]."""
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1).contiguous()


@dataclass(frozen=True)
class ImageLoader:
    """Load the views of an object: image float32 [V,3,H,W] and image_mask bool [V].

    A missing file is a view that the mask marks as absent; an object without any has no image.

    Attributes:
        folder: where the files are.
        pattern: path below it with {object_id} and, for several views, {view}; a .npy file holds
            uint8 [H,W,3], any other is read by Pillow.
        num_views: V.
        processor: makes [3,H,W] of the pixels [H,W,3], with random numbers of the sample.
    """

    folder: Path
    pattern: str = "{object_id}.png"
    num_views: int = 1
    processor: Callable[[np.ndarray, np.random.Generator], Tensor] = to_unit_range
    stream = "image:"

    def load(self, record: Entry, rng: np.random.Generator) -> Sample:
        """Return the views and which of them exist."""
        paths = [
            file_below(self.folder, self.pattern.format(object_id=record["object_id"], view=view))
            for view in range(self.num_views)
        ]
        present = [path.is_file() for path in paths]
        views = [self.processor(read_pixels(path), rng) for path in paths if path.is_file()]
        if not views:
            return {}
        image = views[0].new_zeros(self.num_views, *views[0].shape)
        mask = torch.tensor(present)
        image[mask] = torch.stack(views)
        return {"image": image, "image_mask": mask}


class ViewLoader:
    """Load rendered views of an object: image float32 [V,3,H,W] and image_mask bool [V].

    Args:
        path: of a file that lavis/datasets/rendering/view_store.py wrote.
        processor: as of `ImageLoader`.
    """

    stream = "image:"

    def __init__(
        self,
        path: Path,
        processor: Callable[[np.ndarray, np.random.Generator], Tensor] = to_unit_range,
    ) -> None:
        self.store, self.processor = ViewStore(path), processor
        self.known = frozenset(self.store.ids)

    def load(self, record: Entry, rng: np.random.Generator) -> Sample:
        """Return the views; an object that was not rendered has none."""
        if record["object_id"] not in self.known:
            return {}
        views = [self.processor(view, rng) for view in self.store.load(record["object_id"])]
        return {"image": torch.stack(views), "image_mask": torch.ones(len(views), dtype=torch.bool)}


def read_pixels(path: Path) -> np.ndarray:
    """Read an image as uint8 [H,W,3].

    Raises:
        DataError: the file is damaged or no colour image.
        DependencyError: it needs Pillow, which is not installed.
    """
    try:
        pixels = np.load(path, allow_pickle=False) if path.suffix == ".npy" else _decode(path)
    except (*DAMAGE, SyntaxError) as error:  # Pillow raises SyntaxError for a broken PNG
        raise _unusable(path, repr(error)) from error
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise _unusable(path, f"{pixels.dtype} {pixels.shape}")
    return pixels


def _decode(path: Path) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError as error:
        raise DependencyError(
            "images need Pillow", where=str(path), fix="pip install pillow, or use .npy"
        ) from error
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _unusable(path: Path, got: str) -> DataError:
    return DataError(
        "an image cannot be used",
        where=str(path),
        got=got,
        expected="uint8 [H,W,3]",
        fix="restore the file or remove it: an absent view is marked by image_mask",
    )
