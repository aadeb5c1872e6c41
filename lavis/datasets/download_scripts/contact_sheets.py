"""Draw a small picture of every built-in data set that is prepared here.

    python -m lavis.datasets.download_scripts.contact_sheets --out docs/data_sources

Writes `<source>.png`: 16 items, chosen by a hash of their id. What is not prepared is named and
left out. Views are read from `furniture_views` (render_views.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import lavis.common.utils as utils
from lavis.common.command import command_parser, report_errors
from lavis.datasets.convert.contact_sheet import TILE, draw_cloud, write_tiles
from lavis.datasets.datasets.annotations import read_annotation, take
from lavis.datasets.download_scripts.media.files import PICTURES_NAME
from lavis.datasets.fields.audio import RATE
from lavis.datasets.rendering.view_store import ViewStore
from lavis.datasets.stores.packed_audio import PackedAudio
from lavis.datasets.stores.point_stores import PackedPointStore

COUNT = 16
COLORS = 256  # of a PNG: small enough for a repository
_WINDOW, _HOP = 512, 128  # samples of a spectrogram

Draw = Callable[[str], np.ndarray]  # object id -> uint8 [TILE,TILE,3]


def clouds(folder: Path) -> Draw:
    """Return what draws packed clouds."""
    store = PackedPointStore(folder)
    return lambda object_id: draw_cloud(store.load(object_id))


def pictures(path: Path) -> Draw:
    """Return what draws the first view of an object."""
    store = ViewStore(path)
    return lambda object_id: _tile(store.load(object_id)[0])


def sounds(folder: Path) -> Draw:
    """Return what draws spectrograms: time to the right, 0 to 8 kHz upwards, dark is loud."""
    store = PackedAudio(folder)

    def draw(object_id: str) -> np.ndarray:
        clip = store.load(object_id)
        return _tile(spectrogram(np.zeros(RATE, np.float32) if clip is None else clip))

    return draw


def spectrogram(clip: np.ndarray) -> np.ndarray:
    """Return the log power of a clip [T] over 60 dB as grey levels, uint8 [F,time,3]."""
    padded = np.pad(clip, (0, max(_WINDOW - len(clip), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW), axis=1)) ** 2  # [time,F]
    decibel = 10 * np.log10(np.maximum(power / max(power.max(), 1e-12), 1e-6))
    grey = np.rint(-decibel / 60 * 235).astype(np.uint8)
    return np.repeat(grey.T[::-1, :, None], 3, axis=2)


def _tile(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.BILINEAR))


# Name of the sheet, what draws it, below cache_root, and the prepared folder of its annotations.
SHEETS: dict[str, tuple[Callable[[Path], Draw], str, str]] = {
    "bricks": (clouds, "bricks", "bricks"),
    "furniture": (clouds, "furniture", "furniture"),
    "furniture_views": (pictures, "furniture_views/views_4x128.zip", "furniture"),
    "pictures": (pictures, f"pictures/{PICTURES_NAME}", "pictures"),
    "stamps": (pictures, f"stamps/{PICTURES_NAME}", "stamps"),
    "sounds": (sounds, "sounds", "sounds"),
}


def write_sheet(name: str, path: Path) -> bool:
    """Draw one sheet; return whether its data are prepared.

    Raises:
        DataError: they are damaged.
    """
    make, source, folder = SHEETS[name]
    where = Path(utils.get_cache_path(source))
    annotations = Path(utils.get_cache_path(folder)) / "annotations/caption_train.json"
    if not where.exists() or not annotations.exists():
        return False
    records = take(read_annotation([annotations]), COUNT, "object_id")
    draw = make(where)
    titles = [(str(r["object_id"]).split(".")[-1], _first(r["caption"])) for r in records]
    write_tiles(path, titles, [draw(str(record["object_id"])) for record in records])
    small = Image.open(path).convert("RGB").quantize(COLORS)
    small.save(path, "PNG", optimize=True)
    return True


def _first(caption: str | Sequence[str]) -> str:
    return caption if isinstance(caption, str) else caption[0]


@report_errors()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when what is prepared is drawn."""
    parser = command_parser(__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/data_sources"))
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in SHEETS:
        path = options.out / f"{name}.png"
        print(path if write_sheet(name, path) else f"{name} is not prepared: left out")
    return 0


if __name__ == "__main__":
    sys.exit(main())
