"""One item from a user's files: a cloud, an image, a sound, a text, each with a weight.

read_input("point", "chair.ply:0.7")  ->  Input("point", "chair.ply", 0.7)
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

import lavis.common.utils as utils
from lavis.common.errors import ConfigError, DataError
from lavis.datasets.readers.files import read_cloud
from lavis.models.teachers import own_files
from lavis.processors.point_processors import PointProcessor

FLAGS = {"cloud": "point", "image": "image", "sound": "audio", "text": "text"}
SOUND_HEAD, IMAGE_HEAD = "sound_teacher/head.safetensors", "views_head.safetensors"


@dataclass(frozen=True)
class Input:
    """What is asked about, or one part of it.

    Attributes:
        modality: point, image, audio or text.
        value: a path; of a text the text.
        weight: in the mixture, above 0.
    """

    modality: str
    value: str
    weight: float = 1.0


def read_input(modality: str, argument: str) -> Input:
    """Parse `value` or `value:weight`.

    Raises:
        ConfigError: a weight that is not above 0.
    """
    value, colon, last = argument.rpartition(":")
    try:
        weight = float(last) if colon else 1.0
    except ValueError:
        return Input(modality, argument)
    if not 0 < weight < float("inf"):
        what = "a weight of an input is not above 0"
        raise ConfigError(what, where=argument, got=last, expected="e.g. chair.ply:0.5")
    return Input(modality, value if colon else argument, weight)


def add_input_flags(parser: ArgumentParser) -> None:
    """Add what `read_inputs` and `ItemReader` read to a command line."""
    for flag in FLAGS:
        parser.add_argument(f"--{flag}", help="a text, or a file; a weight may follow: FILE:0.5")
    parser.add_argument("--image-teacher", help="conse, file of a head, imagebind:…, clip:FOLDER")
    parser.add_argument("--sound-teacher", help="file of a head, imagebind:… or clap:FOLDER")
    parser.add_argument("--up-axis", choices=("y", "z"), default="y", help="of the cloud")


def read_inputs(options: Namespace) -> list[Input]:
    """Return the inputs of a command line.

    Raises:
        DataError: none.
        ConfigError: see `read_input`.
    """
    given = [(flag, getattr(options, flag)) for flag in FLAGS if getattr(options, flag)]
    if not given:
        what, fix = "no input", "name a --cloud, --image, --sound or --text"
        raise DataError(what, fix=fix)
    return [read_input(FLAGS[flag], value) for flag, value in given]


class ItemReader:
    """Makes a batch of one item from files; teachers are built at their first use.

    Args:
        joint: the model of the joint space, with `space` and `text_teacher`.
        processor: of clouds, e.g. that of the run's evaluation.
        image_teacher: see own_files.py; None: `data/views_head.safetensors`, else `conse`.
        sound_teacher: see own_files.py; None: `data/sound_teacher/head.safetensors`.
        up_axis: of the clouds, `y` as in the built-in data, or `z`, which is turned to y.
    """

    def __init__(
        self,
        joint: Any,
        processor: PointProcessor,
        image_teacher: str | None = None,
        sound_teacher: str | None = None,
        up_axis: str = "y",
    ) -> None:
        self.joint, self.processor, self.up_axis = joint, processor, up_axis
        head = Path(utils.get_cache_path(IMAGE_HEAD))
        self.image_name = image_teacher or (str(head) if head.is_file() else "conse")
        self.sound_name = str(sound_teacher or utils.get_cache_path(SOUND_HEAD))
        self.teachers: dict[str, Any] = {}

    def read(self, inputs: Sequence[Input]) -> tuple[dict[str, Any], dict[str, float]]:
        """Return a batch of one item and the weight of each modality.

        Raises:
            ConfigError: none, a modality twice, or a teacher of another space.
            DataError: a file that cannot be used.
        """
        weights = {one.modality: one.weight for one in inputs}
        if not inputs or len(weights) < len(inputs):
            what, expected = "inputs cannot be mixed so", "one of each modality, at least one"
            got = [one.modality for one in inputs]
            raise ConfigError(what, got=got, expected=expected)
        batch: dict[str, Any] = {"instance_id": ["item"], "text_input": [""]}
        for one in inputs:
            batch |= self._fields(one)
        return batch, weights

    def _fields(self, one: Input) -> Mapping[str, Any]:
        if one.modality == "text":
            return {"text_input": [one.value]}
        path = Path(one.value).expanduser()
        if one.modality == "point":
            return {"point_cloud": self._cloud(path)[None]}
        if one.modality == "image":
            return {"image_embeds": own_files.embed_image(path, self._teacher("image"))[:, None]}
        return {"audio_embeds": own_files.embed_sound(path, self._teacher("audio"))[:, None]}

    def _cloud(self, path: Path) -> Tensor:
        """Return a cloud float32 [N,3|6] as the model reads it."""
        cloud = read_cloud(path).joined()
        if self.up_axis == "z":
            cloud = np.concatenate([cloud[:, [0]], cloud[:, [2]], -cloud[:, [1]], cloud[:, 3:]], 1)
        return self.processor(cloud)

    def _teacher(self, modality: str) -> Any:
        """Return the teacher of a modality, in the space of the model."""
        if modality not in self.teachers:
            own = (
                own_files.image_teacher(self.image_name, self.joint.text_teacher)
                if modality == "image"
                else own_files.sound_teacher(self.sound_name)
            )
            if self.joint.space not in (None, own.space):
                what = f"the teacher of {modality} has another space than the model"
                got, fix = own.space, "name the one the model was trained with"
                where = self.image_name if modality == "image" else self.sound_name
                raise ConfigError(what, where=where, got=got, expected=self.joint.space, fix=fix)
            self.teachers[modality] = own
        return self.teachers[modality]
