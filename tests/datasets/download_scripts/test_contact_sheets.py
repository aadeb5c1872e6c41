"""Pictures of the built-in data: drawn where they are prepared, named where they are not."""

from __future__ import annotations

import numpy as np
from lavis.common.registry import registry
from PIL import Image

from lavis.datasets.convert.contact_sheet import CAPTION, COLUMNS, TILE
from lavis.datasets.download_scripts.contact_sheets import main, spectrogram
from tests.datasets.download_scripts.media_tree import write_media


def test_prepared_data_are_drawn_and_others_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(registry.mapping["paths"], "cache_root", str(tmp_path))
    for name in ("stamps", "sounds"):
        write_media(tmp_path / name, name)
    assert main(["--out", str(tmp_path / "sheets")]) == 0
    out = capsys.readouterr().out
    assert "bricks is not prepared" in out
    drawn = sorted(path.name for path in (tmp_path / "sheets").iterdir())
    assert drawn == ["sounds.png", "stamps.png"]
    with Image.open(tmp_path / "sheets/stamps.png") as sheet:
        assert sheet.size == (COLUMNS * TILE, 2 * (TILE + CAPTION))


def test_a_tone_is_a_dark_line_at_its_frequency():
    tone = np.sin(2 * np.pi * 2000 * np.arange(8000) / 16000)
    picture = spectrogram(tone)[..., 0]
    row = picture.mean(axis=1).argmin()
    assert abs(row - 0.75 * len(picture)) < 3  # 2 of 8 kHz, from the bottom
