"""Which built-in objects have a sound, and which recordings it is: sounds by class.

The paper joins ESC-50 with ShapeNet by nine classes. Here an object belongs to a class by its name,
and a class has notes of the soundfont (`sounds`) or recordings of the stamps. Classes with `sounds`
need no stamps, which are under the GPL 2.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lavis.common.errors import DataError

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class SoundClass:
    """Objects that make a sound.

    Attributes:
        name: of the class.
        objects: pattern of their names in lower case, found from the first letter of a word.
        sounds: labels of `sounds`.
        stamps: last parts of the ids of `stamps`.
    """

    name: str
    objects: str
    sounds: tuple[str, ...] = ()
    stamps: tuple[str, ...] = ()


_FIGURE = "(figure fabuland|minifig head(dress)?( muppet)?) {0}\\b"


def _animal(name: str, *stamps: str, parts: str = "") -> SoundClass:
    """Return the class of an animal: bricks of it and figures with its head, no accessories."""
    whole = rf"animal ({name})\b(?! (horn|saddle|tail|ear|web|emblem|wing|{parts or 'bridle'}))"
    furniture = rf"({name}|bull{name}|siamese {name})$"
    return SoundClass(
        name.split("|")[0], f"{whole}|{_FIGURE.format(f'({name})')}|{furniture}", (), stamps
    )


SOUND_CLASSES: tuple[SoundClass, ...] = (
    SoundClass("telephone", r".*\b(phone|iphone|telephone|intercom)\b", ("telephone",)),
    SoundClass("piano", r"(grand|upright) piano", ("yamaha grand piano", "honky tonk")),
    SoundClass(
        "guitar",
        r".*\bguitar\b",
        ("nylon string guitar", "steel string guitar", "clean guitar", "overdrive guitar"),
    ),
    SoundClass("banjo", r".*\bbanjo", ("banjo",)),
    SoundClass("violin", r".*\bviolin", ("violin", "fiddle")),
    SoundClass("saxophone", r".*\bsaxophone", ("alto sax", "tenor sax")),
    SoundClass("accordion", r".*\baccordion", ("accordion", "italian accordion")),
    SoundClass("xylophone", r".*\bxylophone", ("xylophone", "marimba")),
    SoundClass("helicopter", r"(?!.*(boat|bat wing)).*\b(helicopter|propeller)\b", ("helicopter",)),
    SoundClass("gun", r"minifig gun\b(?!.*trigger$)|minifig machine gun", ("gun shot",)),
    SoundClass(
        "bird",
        r"animal (bird|friends bird|owl)\b(?! wing)|figure fabuland (bird|crow)\b",
        ("bird tweet",),
    ),
    _animal("dog", "dog"),
    _animal("cat", "blackcat"),
    _animal("horse", "horse", parts="friends (blanket|bridle)|head armour|bridle|bardings"),
    _animal("cow", "cow", "cow_white"),
    _animal("pig", "pig"),
    _animal("goat", "goat", "mountaingoat"),
    _animal("elephant", "elephant"),
    _animal("bear", "bear"),
    _animal("lion", "lion", "tiger"),
    _animal("monkey", "chimp", parts="arm"),
    _animal("mouse|rat", "mouse"),
    _animal("rabbit", "rabbit"),
    _animal("frog", "frog"),
    _animal("dolphin", "dolphin"),
    SoundClass("toilet", r"(toilets unit|urinal|bidet|duplo toilet)$", (), ("toilet",)),
    SoundClass("hammer", r"(minifig tool |fabuland )?hammer\b", (), ("hammer", "mallet_metal")),
    SoundClass("saw", r".*\b(rip|frame|circular blade|circular) saw\b|saw$", (), ("saw",)),
    SoundClass("camera", r".*\bcamera\b(?!.*bulb flash$)", (), ("camera_35mm",)),
    SoundClass("kettle", r".*\b(kettle|teapot)\b", (), ("kettle",)),
)


def sound_class(name: str) -> SoundClass | None:
    """Return the class of an object by its name; None: it has no sound."""
    lowered = name.strip().lower()
    return next((c for c in SOUND_CLASSES if re.match(c.objects, lowered)), None)


def object_name(record: Entry) -> str:
    """Return the name of an object: the first of several captions, or the description."""
    captions = record.get("caption")
    return str(captions[0] if isinstance(captions, list) else record.get("description") or "")


def clips_of(chosen: SoundClass, records: Sequence[Entry]) -> list[str]:
    """Return the ids of the recordings of a class, in order.

    Args:
        chosen: the class.
        records: of `sounds` and `stamps`, those with a sound.
    """
    ids = []
    for record in records:
        name = str(record["object_id"])
        is_stamp = name.startswith("stamp_") and name.rsplit(".", 1)[-1] in chosen.stamps
        captions = record.get("caption")
        label = captions[0] if isinstance(captions, list) else captions
        if is_stamp or (name.startswith("sound_") and label in chosen.sounds):
            ids.append(name)
    return sorted(ids)


def choose_clip(object_id: str, split: str, clips: Sequence[str]) -> str:
    """Return the recording of an object, drawn by a hash of its id.

    Training objects have the first, third, … recording of a class and all others the rest, so that
    no recording of a test was trained on. The only recording of a class serves both.

    Raises:
        DataError: the class has no recording.
    """
    if not clips:
        raise DataError("a class of sounds has no recording", where=object_id)
    share = clips[::2] if split == "train" else clips[1::2]
    usable = share or clips
    digest = hashlib.sha256(object_id.encode("utf-8")).digest()
    return usable[int.from_bytes(digest[:8], "big") % len(usable)]
