"""Embeddings of a user's own images and sounds, one file each, by the built-in or named teachers.

embed_image(Path("cat.png"), image_teacher("data/views_head.safetensors", sentences))
embed_sound(Path("bark.wav"), SoundTeacher(Path("data/sound_teacher/head.safetensors")))
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lavis.common.errors import ConfigError, DataError
from lavis.datasets.fields.audio import decode_audio
from lavis.datasets.fields.images import read_pixels
from lavis.models.teachers.audio import SoundTeacher
from lavis.models.teachers.by_name import (
    IMAGE_PREFIXES,
    SOUND_PREFIXES,
    image_text_teacher,
    sound_text_teacher,
)
from lavis.models.teachers.clip import ClipTeacher
from lavis.models.teachers.image import ConseTeacher, HeadTeacher
from lavis.models.teachers.imagebind import ClapTeacher, ImageBindTeacher
from lavis.models.teachers.sentence import SentenceTeacher
from lavis.models.teachers.teacher import Teacher

ImageTeacher = ConseTeacher | HeadTeacher | ClipTeacher | ImageBindTeacher
SoundTeachers = SoundTeacher | ClapTeacher | ImageBindTeacher
PIXELS = 128  # of the rendered views that heads are trained with


def image_teacher(name: str, sentences: Teacher | None) -> ImageTeacher:
    """Build the teacher of images.

    Args:
        name: `conse`, the file of a head (train_view_head.py), or a name with a prefix of
            by_name.py.
        sentences: the text teacher, whose space `conse` enters.

    Raises:
        CheckpointError, DependencyError: the teacher cannot be built.
        ConfigError: `conse` without a sentence encoder.
    """
    if name.startswith(IMAGE_PREFIXES):
        return image_text_teacher(name, key="image teacher", cache_size=0)
    if name != "conse":
        return HeadTeacher(Path(name))
    if not isinstance(sentences, SentenceTeacher):
        what, fix = "ConSE needs a sentence encoder as text teacher", "name another image teacher"
        raise ConfigError(what, where="image teacher", got=type(sentences), fix=fix)
    return ConseTeacher(sentences)


def sound_teacher(name: str) -> SoundTeachers:
    """Build the teacher of sounds.

    Args:
        name: the file of a head (train_sound_head.py), or a name with a prefix of by_name.py.

    Raises:
        CheckpointError, DependencyError: the teacher cannot be built.
    """
    if name.startswith(SOUND_PREFIXES):
        return sound_text_teacher(name, key="sound teacher", cache_size=0)
    return SoundTeacher(Path(name))


def square_image(pixels: np.ndarray, size: int = PIXELS) -> Tensor:
    """Return an image uint8 [H,W,3] as float [1,3,size,size] in [0,1], padded with white."""
    height, width = pixels.shape[:2]
    edge = max(height, width)
    square = np.full((edge, edge, 3), 255, np.uint8)
    top, left = (edge - height) // 2, (edge - width) // 2
    square[top : top + height, left : left + width] = pixels
    image = torch.from_numpy(square).permute(2, 0, 1)[None].float() / 255
    resized = torch.nn.functional.interpolate(
        image, (size, size), mode="bicubic", antialias=True, align_corners=False
    )
    return resized.clamp(0, 1)


@torch.inference_mode()
def embed_image(path: Path, teacher: ImageTeacher) -> Tensor:
    """Embed an image file: unit [1,E].

    Raises:
        DataError: the file is missing, damaged, or no colour image.
    """
    _require(path, "image")
    if isinstance(teacher, ClipTeacher | ImageBindTeacher):
        pixels = torch.from_numpy(np.array(read_pixels(path))).permute(2, 0, 1)[None].float() / 255
        return teacher.embed_images(pixels)
    return teacher(square_image(read_pixels(path)))


@torch.inference_mode()
def embed_sound(path: Path, teacher: SoundTeachers) -> Tensor:
    """Embed a sound file of any rate: unit [1,E].

    Raises:
        DataError: the file is missing or damaged, silent or shorter than 0.05 s.
        DependencyError: the format needs soundfile.
    """
    _require(path, "sound")
    clip = torch.from_numpy(decode_audio(path.read_bytes(), str(path)))
    return teacher([clip]) if isinstance(teacher, SoundTeacher) else teacher.embed_sounds([clip])


def _require(path: Path, kind: str) -> None:
    if not path.is_file():
        raise DataError(f"no such {kind} file", where=str(path))
