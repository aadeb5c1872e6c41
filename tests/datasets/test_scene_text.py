"""Sentences on scenes."""

from __future__ import annotations

from lavis.datasets.scene_text import caption_of, with_article


def test_captions_count() -> None:
    assert caption_of("a room", ["chair", "box", "box", "oven"]) == (
        "a room with 2 boxes, a chair and an oven"
    )
    assert caption_of("a room", []) == "a room"
    assert caption_of("a room", ["bed", "bed", "lamp"], 1) == "a room with 2 beds"
    assert caption_of("a room", ["tableware", "tableware"]) == "a room with tableware"
    assert with_article("office") == "an office"
