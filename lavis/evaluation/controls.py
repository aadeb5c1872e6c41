"""Controls: evaluations on objects from which one kind of information is removed or replaced.

    box_shell        points on the surface of the object's bounding box, in its mean colour
    shuffled_clouds  cloud, colour and size of another object of the split
    wrong_size       own cloud, with the size of another object: at least 25% off where possible
    no_size          own cloud, size unknown
    no_color         own cloud, every point mid-grey
    blank_cloud      the same grey ball of points for every object, size unknown

and of models that retrieve texts (`model.retrieved_texts`), by name alone, not by "all":

    shuffled_neighbours  own cloud and size; texts retrieved for another object
    neighbours_only      cloud and size of another object; texts retrieved for the object itself

    evaluate.py … --options run.controls=[box_shell,no_size]     or  run.controls=[all]

A score that does not fall without an input is not due to that input. Each control is a split of
its own in the same launch (`val_box_shell.json`), and a function of (seed, object id, control),
before any processor. A size is the bounding box of the cloud times the store's scale; a scale of
NaN makes the box NaN, which models read as "size unknown" (models/object_size.py).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lavis.common.errors import ConfigError, nearest
from lavis.datasets.fields.points import PointLoader
from lavis.datasets.readers.values import native_float
from lavis.evaluation.altered_splits import (
    StoreMaker,
    add_altered_splits,
    alteration_rng,
    object_ids,
    original_store,
)

Cloud = np.ndarray  # [N,3] xyz or [N,6] xyz and rgb in [0,1]
MID_GREY = 0.5
SIZE_RATIO = 1.25


def keep(cloud: Cloud, rng: np.random.Generator) -> Cloud:
    """Return the cloud itself."""
    return cloud


def grey(cloud: Cloud, rng: np.random.Generator) -> Cloud:
    """Paint every point mid-grey; [N,3|6] in and out."""
    painted = cloud.copy()
    painted[:, 3:] = MID_GREY
    return painted


def box_shell(cloud: Cloud, rng: np.random.Generator) -> Cloud:
    """Draw as many points uniformly on the surface of the bounding box, in the mean colour.

    The first two points are opposite corners, so that the box keeps its size exactly.
    """
    low, high = cloud[:, :3].min(axis=0), cloud[:, :3].max(axis=0)
    edges = high - low
    areas = np.array([edges[1] * edges[2], edges[0] * edges[2], edges[0] * edges[1]])
    # All areas of a line or a single point are 0: its surface is itself, from any face.
    shares = areas / areas.sum() if areas.sum() > 0 else np.full(3, 1 / 3)
    count = len(cloud)
    place = rng.random((count, 3))  # [N,3] in the unit cube
    axis = rng.choice(3, size=count, p=shares)
    place[np.arange(count), axis] = rng.integers(0, 2, size=count)
    if count > 1:
        place[0], place[1] = 0.0, 1.0
    xyz = np.where(place == 1, high, low + place * edges)
    color = np.broadcast_to(cloud[:, 3:].mean(axis=0), (count, cloud.shape[1] - 3))
    return np.concatenate([xyz, color], axis=1).astype(cloud.dtype)


def ball(cloud: Cloud, rng: np.random.Generator) -> Cloud:
    """Return points uniform in the unit ball, mid-grey, the same for every object.

    Three coordinates of a uniform point on the sphere in 5 dimensions are uniform in the ball.
    """
    fixed = np.random.default_rng(0).standard_normal((len(cloud), 5))  # [N,5]
    xyz = fixed[:, :3] / np.linalg.norm(fixed, axis=1, keepdims=True)
    color = np.full((len(cloud), cloud.shape[1] - 3), MID_GREY)
    return np.concatenate([xyz, color], axis=1).astype(cloud.dtype)


def own_objects(ids: Sequence[str], seed: int) -> dict[str, str]:
    """Map each object to itself."""
    return {object_id: object_id for object_id in ids}


def other_objects(ids: Sequence[str], seed: int) -> dict[str, str]:
    """Map each object to another one: the next in a circle in the order of a seeded hash.

    Raises:
        ConfigError: there is only one object.
    """
    circle = seeded_circle(ids, seed)
    return dict(zip(circle, circle[1:] + circle[:1], strict=True))


def seeded_circle(ids: Sequence[str], seed: int) -> list[str]:
    """Order distinct objects by a seeded hash of their ids."""
    distinct = set(ids)
    if len(distinct) < 2:
        raise ConfigError(
            "a control that swaps objects needs two of them",
            where="run.controls: shuffled_clouds, wrong_size",
            got=f"{len(distinct)} objects in the split",
            fix="raise the split's limit, or remove the control",
        )
    return sorted(distinct, key=lambda i: hashlib.sha256(f"{seed}:{i}".encode()).digest())


def own_scales(store: Any, ids: Sequence[str], seed: int) -> dict[str, float]:
    """Return each object's own scale."""
    return {object_id: float(store.scale(object_id)) for object_id in ids}


def other_scales(store: Any, ids: Sequence[str], seed: int) -> dict[str, float]:
    """Return the scales of `other_objects`."""
    return {own: float(store.scale(other)) for own, other in other_objects(ids, seed).items()}


def wrong_scales(store: Any, ids: Sequence[str], seed: int) -> dict[str, float]:
    """Return scales that give each object the size of another.

    The other is the next of the circle whose size differs by `SIZE_RATIO` or more; where no object
    does, the one whose size differs most. Size is the radius of the cloud times its scale.
    """
    circle = seeded_circle(ids, seed)
    radii = np.array([_radius(store.load(object_id)) for object_id in circle])
    sizes = radii * np.array([store.scale(object_id) for object_id in circle])  # [n]
    scales = {}
    for place, object_id in enumerate(circle):
        following = np.roll(sizes, -place)[1:]
        ratios = np.maximum(following / sizes[place], sizes[place] / following)
        far = ratios >= SIZE_RATIO
        scales[object_id] = float(following[(far if far.any() else ratios).argmax()] / radii[place])
    return scales


def unknown_scales(store: Any, ids: Sequence[str], seed: int) -> dict[str, float]:
    """Return NaN for every object."""
    return dict.fromkeys(ids, math.nan)


def _radius(cloud: Cloud) -> float:
    xyz = np.asarray(cloud, dtype=np.float64)[:, :3]
    return float(np.linalg.norm(np.ptp(xyz, axis=0))) / 2 or 1.0


@dataclass(frozen=True)
class Control:
    """What a control changes.

    Attributes:
        change: function of the cloud.
        objects: whose cloud each object gets.
        scales: the scale that each object gets; with the cloud it makes the size.
        lookups: for whose cloud texts are retrieved; None: for the one that the object gets.
    """

    change: Callable[[Cloud, np.random.Generator], Cloud] = keep
    objects: Callable[[Sequence[str], int], dict[str, str]] = own_objects
    scales: Callable[[Any, Sequence[str], int], dict[str, float]] = own_scales
    lookups: Callable[[Sequence[str], int], dict[str, str]] | None = None


CONTROLS: dict[str, Control] = {
    "box_shell": Control(change=box_shell),
    "shuffled_clouds": Control(objects=other_objects, scales=other_scales),
    "wrong_size": Control(scales=wrong_scales),
    "no_size": Control(scales=unknown_scales),
    "no_color": Control(change=grey),
    "blank_cloud": Control(change=ball, scales=unknown_scales),
    "shuffled_neighbours": Control(lookups=other_objects),
    "neighbours_only": Control(objects=other_objects, scales=other_scales, lookups=own_objects),
}


@dataclass(frozen=True)
class ControlStore:
    """A point store under a control.

    Attributes:
        store: of the clouds.
        name: of `CONTROLS`.
        seed: of the randomness, with the object's id.
        objects: {object id: whose cloud it gets}.
        scales: {object id: the scale it gets}; NaN is an unknown size.
    """

    store: Any
    name: str
    seed: int
    objects: Mapping[str, str]
    scales: Mapping[str, float]

    def scale(self, object_id: str) -> float:
        """Return the scale that the control gives the object."""
        return self.scales[object_id]

    def load(self, object_id: str) -> np.ndarray:
        """Return the cloud that the control gives the object, float [N,3|6]."""
        cloud = native_float(np.asarray(self.store.load(self.objects[object_id])))
        rng = alteration_rng(self.seed, self.name, object_id)
        return CONTROLS[self.name].change(cloud, rng)


@dataclass(frozen=True)
class LookupLoader:
    """Load the cloud for which a model retrieves texts: `lookup_cloud` [N,3|6], `lookup_box` [3].

    Attributes:
        points: of the unaltered split.
        objects: {object id: for whose cloud its texts are retrieved}.
    """

    points: PointLoader
    objects: Mapping[str, str]
    stream = "lookup:"

    @classmethod
    def of(cls, dataset: Any, objects: Mapping[str, str]) -> LookupLoader:
        """Return the loader beside those of a split."""
        return cls(PointLoader(original_store(dataset), dataset.point_processor), objects)

    def load(self, record: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Return the two fields."""
        other = self.objects[str(record["object_id"])]
        found = self.points.load({**record, "object_id": other}, rng)
        return {"lookup_cloud": found["point_cloud"], "lookup_box": found["box_size"]}


def control_store(store: Any, ids: Sequence[str], name: str, seed: int) -> ControlStore:
    """Put a store under a control.

    Args:
        store: of the split.
        ids: the split's distinct objects; only these can be loaded.
        name: of `CONTROLS`.
        seed: of the control.
    """
    control = CONTROLS[name]
    objects, scales = control.objects(ids, seed), control.scales(store, ids, seed)
    return ControlStore(store, name, seed, objects, scales)


def parse_controls(names: Sequence[str]) -> list[str]:
    """Read names of controls, or "all": those of every model.

    Raises:
        ConfigError: an unknown control.
    """
    general = [name for name, control in CONTROLS.items() if control.lookups is None]
    wanted = [entry for name in names for entry in (general if name == "all" else [name])]
    for name in wanted:
        if name not in CONTROLS:
            raise ConfigError(
                f"not a control.{nearest(name, CONTROLS)}",
                where="run.controls",
                got=name,
                expected=f"all, or some of {list(CONTROLS)}",
            )
    return list(dict.fromkeys(wanted))


def add_control_splits(
    datasets: Mapping[str, dict[str, Any]], splits: Sequence[str], names: Sequence[str], seed: int
) -> list[str]:
    """Add each split under each control; return names such as "val_box_shell"."""
    makers: dict[str, StoreMaker] = {
        name: partial(control_store, name=name, seed=seed) for name in parse_controls(names)
    }
    added = add_altered_splits(datasets, splits, makers)
    for name in makers:
        lookups = CONTROLS[name].lookups
        if lookups is not None:
            for members in datasets.values():
                for split in members.keys() & set(splits):
                    own = members[split]
                    loader = LookupLoader.of(own, lookups(object_ids(own), seed))
                    members[f"{split}_{name}"].loaders += (loader,)
    return added
