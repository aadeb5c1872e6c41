"""The text teacher that a yaml key names."""

from __future__ import annotations

from lavis.models.teachers.clip import PREFIXES, ClipTeacher
from lavis.models.teachers.sentence import SentenceTeacher
from lavis.models.teachers.teacher import Teacher


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
