"""Sounds by class: which objects have one, and which recording it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lavis.common.errors import DataError
from lavis.datasets.sound_classes import (
    SOUND_CLASSES,
    choose_clip,
    clips_of,
    object_name,
    sound_class,
)

DOCS = Path(__file__).parents[2] / "docs" / "data_sources.md"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Animal Dog French Bulldog", "dog"),
        ("bulldog", "dog"),
        ("dog house", None),
        ("Minifig Balloon Dog", None),
        ("Animal Horse Body", "horse"),
        ("Animal Horse Saddle with One Clip", None),
        ("rocking horse", None),
        ("Animal Cow Horn", None),
        ("Minifig Headdress Catwoman", None),
        ("Minifig Head Muppet Pig Girl", "pig"),
        ("grand piano", "piano"),
        ("piano bench", None),
        ("intercom with screen", "telephone"),
        ("headphones", None),
        ("Minifig Electric Guitar V Shape", "guitar"),
        ("Electric Motor Boat Propeller with 2 Blades", None),
        ("Propeller 3 Blade 9 Diameter", "helicopter"),
        ("urinal", "toilet"),
        ("toilet paper dispenser", None),
        ("Brick 2 x 4", None),
    ],
)
def test_an_object_belongs_to_a_class_by_its_name(name, expected):
    found = sound_class(name)
    assert (found and found.name) == expected


def test_at_least_nine_classes_need_no_stamps_and_names_differ():
    assert sum(bool(c.sounds) for c in SOUND_CLASSES) >= 9
    assert len({c.name for c in SOUND_CLASSES}) == len(SOUND_CLASSES)
    assert all(c.sounds or c.stamps for c in SOUND_CLASSES)


def test_the_docs_list_every_class():
    table = re.search(r"### Sounds by class\n(.*?)\n##", DOCS.read_text(), re.DOTALL)
    assert table is not None
    listed = re.findall(r"^\| ([a-z]+) \|", table[1], re.MULTILINE)
    assert listed == ["class", *(c.name for c in SOUND_CLASSES)]


def test_recordings_are_found_by_label_and_by_id():
    records = [
        {"object_id": "sound_b", "caption": ["telephone", "telephone, effects"]},
        {"object_id": "sound_a", "caption": ["telephone"]},
        {"object_id": "stamp_animals.mammals.dogs.dog", "caption": "A dog."},
        {"object_id": "stamp_animals.telephone", "caption": "telephone"},
    ]
    assert clips_of(sound_class("phone"), records) == ["sound_a", "sound_b"]
    assert clips_of(sound_class("dog"), records) == ["stamp_animals.mammals.dogs.dog"]


def test_recordings_of_tests_are_not_those_of_training():
    clips = [f"sound_{k}" for k in range(6)]
    ids = [str(k) for k in range(200)]
    train = {choose_clip(i, "train", clips) for i in ids}
    other = {choose_clip(i, split, clips) for i in ids for split in ("val", "test", "held_out")}
    assert train == set(clips[::2])
    assert other == set(clips[1::2])
    assert {choose_clip(i, "test", clips[:1]) for i in ids} == {clips[0]}
    with pytest.raises(DataError, match="no recording"):
        choose_clip("a", "train", [])


def test_the_name_is_the_first_caption_or_the_description():
    assert object_name({"caption": ["phone", "phone, white"], "description": "x"}) == "phone"
    assert object_name({"caption": "low", "description": "Animal Dog"}) == "Animal Dog"
