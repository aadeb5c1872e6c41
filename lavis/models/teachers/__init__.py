"""Frozen models that give the targets of alignment: one per modality, in a named space."""

from lavis.models.teachers.batch_embeds import batch_embeds
from lavis.models.teachers.by_name import embed_with, joint_text_teacher, text_teacher
from lavis.models.teachers.sentence import SentenceTeacher
from lavis.models.teachers.teacher import Teacher, check_spaces, check_trained_space

__all__ = [
    "SentenceTeacher",
    "Teacher",
    "batch_embeds",
    "check_spaces",
    "check_trained_space",
    "embed_with",
    "joint_text_teacher",
    "text_teacher",
]
