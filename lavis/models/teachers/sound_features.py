"""Features of the built-in recordings by the frozen sound network, computed once and kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm

from lavis.common.errors import DataError
from lavis.common.files import file_sha256
from lavis.common.utils import get_cache_path
from lavis.datasets.datasets.annotations import Entry, read_annotation
from lavis.datasets.stores.packed_audio import AUDIO_NAME, PackedAudio
from lavis.models.teachers.audio import SoundNetwork
from lavis.models.weights.files import save_tensors

SPLITS = ("train", "val", "test", "held_out")
SOUNDS, STAMPS = "sounds", "stamps"
BATCH = 8  # clips between two steps of the bar


def recording_folders() -> list[Path]:
    """Return the prepared folders: `sounds`, and `stamps` where they are prepared.

    Raises:
        DataError: no `sounds`.
    """
    sounds, stamps = (Path(get_cache_path(name)) for name in (SOUNDS, STAMPS))
    if not (sounds / AUDIO_NAME).is_file():
        what, fix = "no sounds", "python -m lavis.datasets.download_scripts.prepare_sounds"
        raise DataError(what, where=str(sounds), fix=fix)
    return [sounds, *([stamps] if (stamps / AUDIO_NAME).is_file() else [])]


def recordings(folder: Path) -> list[Entry]:
    """Return the records of a prepared folder that have a recording, with their `split`."""
    known = PackedAudio(folder).row_of
    paths = [folder / "annotations" / f"caption_{split}.json" for split in SPLITS]
    records = [r for path in paths if path.is_file() for r in read_annotation([path])]
    return [record for record in records if record["object_id"] in known]


@torch.inference_mode()
def sound_features(folders: Sequence[Path], out: Path) -> tuple[list[str], Tensor]:
    """Return the ids of all recordings and their features [N,512], from `out` where it has them.

    Raises:
        DataError: a folder is damaged.
        DependencyError: aisfx is not installed.
    """
    digest = " ".join(file_sha256(folder / AUDIO_NAME) for folder in folders)
    stores = [PackedAudio(folder) for folder in folders]
    ids = [name for store in stores for name in store.row_of]
    facts = {"ids": json.dumps(ids), "audio_sha256": digest}
    known = _known(out, facts)
    if known is not None:
        return ids, known
    network, parts = SoundNetwork(), []
    clips = [torch.from_numpy(store.load(name)) for store in stores for name in store.row_of]
    for start in tqdm(range(0, len(clips), BATCH), desc="Features of sounds", unit="batch"):
        parts.append(network(clips[start : start + BATCH]))
    features = torch.cat(parts)
    save_tensors(out, {"features": features}, facts)
    return ids, features


def _known(path: Path, facts: dict[str, str]) -> Tensor | None:
    """Return the features of a file of the same recordings."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            same = file.metadata() == facts
            return file.get_tensor("features") if same else None
    except SafetensorError:
        return None  # damaged: written anew
