"""Teachers that a yaml key or a flag names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lavis.common.errors import ConfigError
from lavis.models.teachers.clip import PREFIXES, ClipTeacher
from lavis.models.teachers.imagebind import CLAP, IMAGEBIND, ClapTeacher, ImageBindTeacher
from lavis.models.teachers.sentence import SentenceTeacher
from lavis.models.teachers.teacher import Teacher

KEY = "model.text_teacher"
IMAGE_PREFIXES = (*PREFIXES, IMAGEBIND)  # of teachers of texts and images
SOUND_PREFIXES = (IMAGEBIND, CLAP)  # of teachers of texts and sounds


def image_text_teacher(name: str, key: str, **options: Any) -> ClipTeacher | ImageBindTeacher:
    """Return a teacher of texts and images whose name has one of `IMAGE_PREFIXES`.

    Args:
        name: see `ClipTeacher` and `ImageBindTeacher`.
        key: the yaml key or flag, for messages.
        options: of the teacher.

    Raises:
        CheckpointError, DependencyError: the teacher cannot be built.
    """
    build = ImageBindTeacher if name.startswith(IMAGEBIND) else ClipTeacher
    return build(name, key=key, **options)


def sound_text_teacher(name: str, key: str, **options: Any) -> ClapTeacher | ImageBindTeacher:
    """Return a teacher of texts and sounds whose name has one of `SOUND_PREFIXES`; see above."""
    build = ImageBindTeacher if name.startswith(IMAGEBIND) else ClapTeacher
    return build(name, key=key, **options)


def text_teacher(name: str, key: str) -> Teacher:
    """Return a sentence encoder, or a model of several modalities where a prefix names one.

    Args:
        name: see `SentenceTeacher`, `ClipTeacher`, `ImageBindTeacher` and `ClapTeacher`.
        key: the yaml key, for messages.

    Raises:
        CheckpointError, ConfigError, DependencyError: the teacher cannot be built.
    """
    if name.startswith(IMAGE_PREFIXES):
        return image_text_teacher(name, key)
    return ClapTeacher(name, key=key) if name.startswith(CLAP) else SentenceTeacher(name, key=key)


def joint_text_teacher(name: str | None, width: int) -> Teacher | None:
    """Build `model.text_teacher`, or none where the embeddings of texts come with the batch.

    Args:
        name: see `text_teacher`.
        width: E of the joint space, `model.embed_dim`.

    Raises:
        ConfigError: a teacher of another width.
    """
    if name is None:
        return None
    teacher = text_teacher(name, key=KEY)
    if teacher.embed_dim != width:
        what = "the teacher has another width than the joint space"
        got, fix = teacher.embed_dim, f"model.embed_dim={teacher.embed_dim}"
        raise ConfigError(what, where=KEY, got=got, expected=width, fix=fix)
    return teacher


def embed_with(teacher: Teacher | None, texts: Sequence[str]) -> Tensor:
    """Embed texts: unit [B,E].

    Raises:
        ConfigError: there is no teacher.
    """
    if teacher is None:
        what = "texts need a text teacher, or their embeddings in the batch"
        fix = "model.text_teacher=minilm, or a data set with text_embeds"
        raise ConfigError(what, where=KEY, got=None, fix=fix)
    return teacher(texts)
