"""The text teacher that a yaml key names."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lavis.common.errors import ConfigError, explain
from lavis.models.teachers.clip import PREFIXES, ClipTeacher
from lavis.models.teachers.sentence import SentenceTeacher
from lavis.models.teachers.teacher import Teacher

KEY = "model.text_teacher"


def text_teacher(name: str, key: str) -> Teacher:
    """Return a sentence encoder, or a CLIP-like model where the name has one of its prefixes.

    Args:
        name: see `SentenceTeacher` and `ClipTeacher`.
        key: the yaml key, for messages.

    Raises:
        CheckpointError, ConfigError, DependencyError: the teacher cannot be built.
    """
    return (
        ClipTeacher(name, key=key) if name.startswith(PREFIXES) else SentenceTeacher(name, key=key)
    )


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
        raise ConfigError(explain(what, where=KEY, got=got, expected=width, fix=fix))
    return teacher


def embed_with(teacher: Teacher | None, texts: Sequence[str]) -> Tensor:
    """Embed texts: unit [B,E].

    Raises:
        ConfigError: there is no teacher.
    """
    if teacher is None:
        what = "texts need a text teacher, or their embeddings in the batch"
        fix = "model.text_teacher=minilm, or a data set with text_embeds"
        raise ConfigError(explain(what, where=KEY, got=None, fix=fix))
    return teacher(texts)
