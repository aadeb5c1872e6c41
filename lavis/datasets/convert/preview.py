"""An HTML page that shows some converted objects with their texts; it loads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from typing import Any

from lavis.common.files import replace_file
from lavis.datasets.convert.contact_sheet import LoadCloud
from lavis.datasets.convert.report import summary
from lavis.datasets.convert.texts import ObjectTexts
from lavis.datasets.viewer.encode import encode_cloud
from lavis.datasets.viewer.page import as_script, canvas, content_policy, style_and_script

MOST = 16
POINTS, SOURCE_POINTS = 512, 1536  # kept evenly of the first ones, which are a random sample
_MOST_TEXTS = 3


def write_preview(
    path: Path,
    shown: Sequence[str],
    facts: Mapping[str, Mapping[str, Any]],
    texts: Mapping[str, ObjectTexts],
    load: LoadCloud,
    report: Mapping[str, Any],
) -> None:
    """Write the page.

    Args:
        path: of the page.
        shown: ids of the objects to show.
        facts: {object id: its facts}.
        texts: {object id: its texts}.
        load: returns xyz and rgb [N,6] of an object.
        report: content of report.json.
    """
    style, script = style_and_script()
    cards = [_card(name, facts[name], texts.get(name, ObjectTexts())) for name in shown]
    lines = "".join(f"<li>{escape(line)}</li>" for line in summary(report))
    with ThreadPoolExecutor() as pool:
        encoded = pool.map(lambda name: encode_cloud(load(name)[:SOURCE_POINTS], POINTS), shown)
        clouds = dict(zip(shown, encoded, strict=True))
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{content_policy(style, script)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Converted objects</title><link rel="icon" href="data:,"><style>{style}</style></head>
<body><header><h1>Converted objects</h1>
<p class="lead">{len(shown)} of {len(facts)} objects, chosen by a hash of their ids.</p>
<ul class="notes">{lines}</ul>
<p class="controls"><button type="button" id="pause" aria-pressed="false">Pause rotation</button>
<span>Drag a cloud to turn it, or focus it and use the arrow keys.</span></p></header>
<main><div class="grid">{"".join(cards)}</div></main>
<script type="application/json" id="clouds">{as_script(clouds)}</script>
<script>{script}</script></body></html>
"""
    replace_file(path, page.encode("utf-8"))


def _card(object_id: str, facts: Mapping[str, Any], texts: ObjectTexts) -> str:
    """Return an object with its texts, its size and its split."""
    questions = [f"{q} {', '.join(a)}" for q, a in texts.questions.items()]
    lines = [*texts.captions[:_MOST_TEXTS], *questions[:_MOST_TEXTS]]
    body = "".join(f'<p class="text">{escape(line)}</p>' for line in lines)
    size = " x ".join(f"{edge:.4g}" for edge in facts["size"])
    about = f"{facts['source']} · {size} · up {facts['up']} · {facts['split']}"
    about += f" · {texts.category}" if texts.category else ""
    tag = f'<p class="tag">{escape(about)}</p>'
    described = texts.title() or object_id
    return (
        f'<article class="card">{canvas(object_id, described)}'
        f'<div class="body">{tag}{body}</div></article>'
    )
