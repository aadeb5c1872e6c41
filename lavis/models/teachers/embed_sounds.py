"""Give the built-in objects the embedding of a sound of their class (datasets/sound_classes.py).

    python -m lavis.models.teachers.embed_sounds
    … --objects furniture
    … --teacher imagebind:/models/imagebind_huge.pth@/models/clip-vit-base-patch32
    … --teacher clap:/models/clap-htsat-unfused

Needs the head of train_sound_head.py, or a named teacher. Writes
`sound_teacher/<objects>.safetensors` (of a named teacher `<objects>.<kind>.safetensors`):
`audio_embeds` float32 [N,1,E] of the objects that have a sound; its metadata name them, their
classes, their recordings and the space. It is `build_info.audio_embeds` of the data sets.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lavis.common.command import command_parser, report_errors
from lavis.common.errors import DataError
from lavis.common.utils import get_cache_path
from lavis.datasets.datasets.annotations import Entry, read_annotation
from lavis.datasets.sound_classes import choose_clip, clips_of, object_name, sound_class
from lavis.datasets.stores.packed_audio import PackedAudio
from lavis.models.teachers.audio import read_sound_head
from lavis.models.teachers.by_name import SOUND_PREFIXES, sound_text_teacher
from lavis.models.teachers.sound_features import recording_folders, recordings, sound_features
from lavis.models.teachers.train_sound_head import FEATURES_NAME, FOLDER, HEAD
from lavis.models.weights.files import save_tensors

OBJECTS = ("bricks", "furniture")


def sounding_objects(
    records: Sequence[Entry], sounds: Sequence[Entry]
) -> list[tuple[str, str, str]]:
    """Return (object id, class, id of the recording) of the objects that have a sound.

    Args:
        records: of the objects, each with its `split`.
        sounds: see `recordings`; a class without any is left out.
    """
    found, clips = {}, {}
    for record in records:
        chosen = sound_class(object_name(record))
        if chosen is None:
            continue
        if chosen.name not in clips:
            clips[chosen.name] = clips_of(chosen, sounds)
        if clips[chosen.name]:
            name, split = str(record["object_id"]), str(record["split"])
            found[name] = chosen.name, choose_clip(name, split, clips[chosen.name])
    return [(name, *rest) for name, rest in found.items()]


def object_records(folder: Path) -> list[Entry]:
    """Return the records of every split of prepared objects.

    Raises:
        DataError: the objects are not prepared.
    """
    paths = sorted((folder / "annotations").glob("caption_*.json"))
    if not paths:
        fix = f"python -m lavis.datasets.download_scripts.prepare_{folder.name}"
        raise DataError("the objects are not prepared", where=str(folder), fix=fix)
    return [record for path in paths for record in read_annotation([path])]


Embed = Callable[[Sequence[str]], Tensor]  # ids of recordings: unit [N,E]


def by_head(path: Path, folders: Sequence[Path]) -> tuple[Embed, str]:
    """Return what embeds recordings by a trained head, and its space.

    Raises:
        CheckpointError, DataError, DependencyError: something it needs is missing or damaged.
    """
    head, space = read_sound_head(path)
    ids, features = sound_features(folders, path.with_name(FEATURES_NAME))
    row_of = {name: row for row, name in enumerate(ids)}
    return lambda clips: head(features[[row_of[clip] for clip in clips]]), space


def by_teacher(name: str, folders: Sequence[Path]) -> tuple[Embed, str]:
    """Return what embeds recordings by ImageBind or CLAP, each once, and its space.

    Raises:
        CheckpointError, DataError: the teacher or the recordings cannot be read.
    """
    teacher = sound_text_teacher(name, key="--teacher", cache_size=0)
    stores = [PackedAudio(folder) for folder in folders]

    def embed(clips: Sequence[str]) -> Tensor:
        known: dict[str, Tensor] = {}
        for clip in dict.fromkeys(clips):
            samples = next(s for store in stores if (s := store.load(clip)) is not None)
            (known[clip],) = teacher.embed_sounds([torch.from_numpy(samples)])
        return torch.stack([known[clip] for clip in clips]).cpu()

    return embed, teacher.space


@torch.inference_mode()
def embed_sounds(
    objects: str, embed: Embed, space: str, folders: Sequence[Path], out: Path
) -> Counter[str]:
    """Write the embeddings of the sounds of objects; return the number of objects by class.

    Args:
        objects: name of the prepared folder.
        embed, space: see `by_head` and `by_teacher`.
        folders: of the recordings.
        out: the file.

    Raises:
        DataError: no object has a sound, or something is damaged.
    """
    sounds = [record for folder in folders for record in recordings(folder)]
    found = sounding_objects(object_records(Path(get_cache_path(objects))), sounds)
    if not found:
        raise DataError("no object has a sound", where=objects)
    names, classes, clips = (list(column) for column in zip(*found))
    facts = {"ids": names, "classes": classes, "clips": clips}
    written = {name: json.dumps(column) for name, column in facts.items()} | {"space": space}
    save_tensors(out, {"audio_embeds": embed(clips)[:, None]}, written)
    return Counter(classes)


@report_errors()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when the files are there."""
    parser = command_parser(__doc__)
    default = Path(get_cache_path(FOLDER)) / HEAD
    parser.add_argument("--objects", nargs="+", choices=OBJECTS, default=OBJECTS)
    parser.add_argument("--head", type=Path, default=default, help="head of train_sound_head")
    parser.add_argument("--teacher", help="imagebind: or clap: and a name, instead of the head")
    options = parser.parse_args(arguments)
    named = options.teacher
    if named and not named.startswith(SOUND_PREFIXES):
        parser.error(f"--teacher begins with one of {', '.join(SOUND_PREFIXES)}")
    suffix = f".{named.partition(':')[0]}.safetensors" if named else ".safetensors"
    folders = recording_folders()
    how = by_teacher(named, folders) if named else by_head(options.head, folders)
    for objects in options.objects:
        out = options.head.with_name(f"{objects}{suffix}")
        counts = embed_sounds(objects, *how, folders, out)
        parts = ", ".join(f"{name} {count}" for name, count in counts.most_common())
        print(f"{out}: {counts.total()} objects of {len(counts)} classes: {parts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
