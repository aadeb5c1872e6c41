"""ULIP's ShapeNet triplets: a cloud, names of its class and rendered images of an object.

The lists name <synset>-<model>.npy; taxonomy.json has the names of a synset, of which training
draws one per epoch. Images are optional: 30 turns of 12 degrees, each with a depth image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lavis.common.errors import ConfigError
from lavis.common.files import file_below
from lavis.common.text_files import read_json, read_text
from lavis.datasets.datasets.annotations import Entry
from lavis.datasets.datasets.point_text_datasets import PointTextDataset
from lavis.datasets.fields.images import read_pixels, to_unit_range
from lavis.datasets.samples import Sample
from lavis.datasets.sources.released import ReleasedSource

DEGREES = range(0, 360, 12)
KINDS = ("", "_depth0001")


@dataclass(frozen=True)
class TurnLoader:
    """Load `image` [V,3,H,W] in [0,1] and `image_mask` [V]: V of the 30 turns of an object.

    Attributes:
        folder: of the rendered images.
        views: V.
        kinds: of `KINDS`; a view is drawn among them.
        draws: draw turns and kinds, for training; else V turns at equal steps, of the first kind.
    """

    folder: Path
    views: int
    kinds: Sequence[str] = KINDS
    draws: bool = False
    stream = "image:"

    def load(self, record: Entry, rng: np.random.Generator) -> Sample:
        """Return the images; a missing file is a view that the mask leaves out."""
        chosen = np.arange(self.views) * len(DEGREES) // self.views
        kinds = np.zeros(self.views, int)
        if self.draws:
            chosen = rng.choice(len(DEGREES), self.views, replace=False)
            kinds = rng.integers(len(self.kinds), size=self.views)
        name = record["object_id"]
        files = [f"{name}_r_{DEGREES[t]:03d}{self.kinds[k]}.png" for t, k in zip(chosen, kinds)]
        paths = [file_below(self.folder, f"{name}/{file}") for file in files]
        present = torch.tensor([path.is_file() for path in paths])
        if not present.any():
            return {}
        found = [to_unit_range(read_pixels(path), rng) for path in paths if path.is_file()]
        image = torch.zeros(self.views, *found[0].shape)
        image[present] = torch.stack(found)
        return {"image": image, "image_mask": present}


class UlipShapeNetSource(ReleasedSource):
    """Read lists of point files and the names of their synsets."""

    origin = (
        "ULIP's release (hub data set SFXX/ulip): shapenet-55/{train,test}.txt, one "
        "<synset>-<model>.npy a line; shapenet-55/taxonomy.json; shapenet-55/shapenet_pc/<line>"
    )

    def files(self) -> list[tuple[str, Path]]:
        """Return the files of a release, the taxonomy, and the images where they are wanted."""
        names = ["taxonomy", *(["images"] if self.info.images.storage else [])]
        keys = [f"{name}.storage" for name in names]
        return [*super().files(), *((key, self.path(key)) for key in keys)]

    def read(self, path: Path) -> list[Entry]:
        """Return a record per line; the captions are the names of the object's synset."""
        lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
        return [self._entry(line) for line in lines]

    def _entry(self, line: str) -> Entry:
        object_id = line.removesuffix(".npy")
        synset, _, model = object_id.partition("-")
        if not model or synset not in self.names:
            raise ValueError(f"{line!r} is no <synset>-<model>.npy of the taxonomy")
        names = self.names[synset]
        return {"object_id": object_id, "category": names[0], "caption": names, "synset": synset}

    @cached_property
    def names(self) -> dict[str, list[str]]:
        """The names of each synset, e.g. {"02691156": ["airplane", "aeroplane", "plane"]}."""
        path = self.path("taxonomy.storage")
        return self.checked(path, lambda: read_taxonomy(path))

    def open_split(self, split: str, mode: str, points: Any, texts: Any) -> PointTextDataset:
        """Return one split, with images where they are wanted."""
        dataset = super().open_split(split, mode, points, texts)
        images = self.info.images
        if images.storage:
            self._check_images(images)
            kinds = KINDS if images.depth else KINDS[:1]
            folder = self.path("images.storage")
            dataset.loaders += (TurnLoader(folder, images.views, kinds, mode == "train"),)
        return dataset

    def _check_images(self, images: Any) -> None:
        if not isinstance(images.views, int) or not 1 <= images.views <= len(DEGREES):
            where, expected = self.key("images.views"), f"1 to {len(DEGREES)}"
            what = "Invalid number of views."
            raise ConfigError(what, where=where, got=images.views, expected=expected)


def read_taxonomy(path: Path) -> dict[str, list[str]]:
    """Return {synset: names} of a list of {synsetId, name}, where a name may hold several.

    Raises:
        ValueError: another layout, or a synset without a name.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise ValueError(f"a {type(content).__name__}, no list of synsets")
    found = {}
    for one in content:
        names = [name.strip() for name in str(one["name"]).split(",") if name.strip()]
        if not names:
            raise ValueError(f"synset {one['synsetId']} has no name")
        found[str(one["synsetId"])] = names
    return found
