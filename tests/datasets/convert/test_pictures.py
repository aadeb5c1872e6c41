"""The contact sheet and the preview: what they show, and equal bytes each time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lavis.datasets.convert import preview
from lavis.datasets.convert.contact_sheet import (
    BACKGROUND,
    CAPTION,
    TILE,
    draw_cloud,
    write_contact_sheet,
)


def pillar(color: tuple[float, float, float] = (1, 0, 0)) -> np.ndarray:
    """A tall box of points, red below and of `color` above."""
    rng = np.random.default_rng(0)
    xyz = (rng.random((1500, 3)) - 0.5) * [0.3, 2, 0.3]
    rgb = np.where(xyz[:, 1:2] > 0, color, (1, 0, 0))
    return np.concatenate([xyz, rgb], 1)


def test_up_is_up_and_colours_are_those_of_the_points() -> None:
    picture = draw_cloud(pillar((0, 0, 1))).astype(int)
    painted = np.argwhere((picture != BACKGROUND).any(axis=2))
    assert np.ptp(painted[:, 0]) > 1.8 * np.ptp(painted[:, 1])
    upper, lower = picture[: TILE // 3], picture[-TILE // 3 :]
    assert (upper[..., 2] > upper[..., 0] + 50).sum() > 100
    assert (lower[..., 0] > lower[..., 2] + 50).sum() > 100
    assert not (upper[..., 0] > upper[..., 2] + 50).any()


def test_near_points_hide_far_ones() -> None:
    side = np.stack(np.meshgrid(np.linspace(-0.4, 0.4, 27), np.linspace(-0.4, 0.4, 27)), -1)
    flat = np.concatenate([side.reshape(-1, 2), np.zeros((729, 1))], 1)
    near = np.concatenate([flat + np.array([0, 0, 0.2]), np.tile([0, 1.0, 0], (729, 1))], 1)
    far = np.concatenate([flat * [0.5, 0.5, 1] - [0, 0, 0.2], np.tile([1.0, 0, 0], (729, 1))], 1)
    mixed = np.random.default_rng(0).permutation(np.concatenate([near, far]))
    picture = draw_cloud(mixed).astype(int)
    middle = picture[70:90, 70:90]
    assert (
        middle[..., 1] > middle[..., 0]
    ).mean() > 0.6  # 0.2 where far points, which are denser, were on top


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (8, (1, 8)), (9, (2, 8))])
def test_objects_are_in_rows(tmp_path: Path, count: int, shape: tuple[int, int]) -> None:
    titles = [(f"object {number} 猫", "a very long caption " * 5) for number in range(count)]
    for name in ("a.png", "b.png"):
        write_contact_sheet(tmp_path / name, titles, lambda _: pillar())
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    image = Image.open(tmp_path / "a.png")
    assert image.size == (shape[1] * TILE, shape[0] * (TILE + CAPTION))


def test_the_preview_shows_texts_and_loads_nothing(meshes: Path, captions: Path, run) -> None:
    page = (run(meshes, captions) / "preview.html").read_text(encoding="utf-8")
    assert "Content-Security-Policy" in page
    assert "http://" not in page
    assert "https://" not in page
    assert page.count("<canvas") == preview.MOST
    assert "which shape is it? torus" in page
    start = page.index('id="clouds">') + len('id="clouds">')
    shown = json.loads(page[start : page.index("</script>", start)])
    assert len(shown) == preview.MOST
    facts = json.loads((run(meshes, captions) / "geometry.json").read_text(encoding="utf-8"))
    for name in shown:
        assert f"{facts[name]['source']} · " in page
        assert f" · up {facts[name]['up']} · {facts[name]['split']} · " in page


def test_texts_of_the_user_are_escaped(tmp_path: Path, run) -> None:
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "<b>.npy", np.random.default_rng(0).random((50, 3)))
    (tmp_path / "t.json").write_text(json.dumps({"<b>": "</script><script>alert(1)</script>"}))
    page = (run(tmp_path / "in", tmp_path / "t.json") / "preview.html").read_text(encoding="utf-8")
    assert page.count("</script>") == 2
    assert "alert(1)" not in page.replace("&lt;script&gt;alert(1)", "")
