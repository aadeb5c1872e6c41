"""Pictures of scenes: rotatable clouds with true and predicted labels, masks or boxes.

A picture is JSON: {"id", "panels": [{"name", "cloud"}], "legend": [[name, "#rrggbb"]]}, a cloud as
lavis/datasets/viewer/encode.py writes it. Boxes are drawn as points along their edges. Evaluations
write `<split>_scenes.json` and a page of the same, `<split>_scenes.html`; reports show the first.
"""

from __future__ import annotations

import colorsys
import json
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from lavis.datasets.viewer.encode import encode_cloud
from lavis.datasets.viewer.page import as_script, canvas, content_policy, style_and_script
from lavis.evaluation.scenes.boxes import plan as plan_of
from lavis.evaluation.scenes.instances import InstancePrediction

Picture = dict[str, Any]
POINTS = 4000  # of a panel
SIDE, THINNED = 0.1, 8  # metres from the sides of a scene, where one point in 8 is shown
EDGE_STEP = 0.06  # metres between the points of an edge of a box
SHOWN, LEAST_SCORE = 20, 0.2  # predicted boxes and masks
NONE = np.array([0.55, 0.55, 0.55])  # points without a label
MARKED = np.array([0.9, 0.1, 0.1])
_GOLDEN = 0.6180339887


def class_colors(count: int) -> np.ndarray:
    """Return colours in [0,1] that differ from their neighbours: [count,3]."""
    values = [(0.95, 0.9), (0.6, 0.75), (0.8, 0.55)]
    colors = [colorsys.hsv_to_rgb(k * _GOLDEN % 1, *values[k % 3]) for k in range(count)]
    return np.array(colors).reshape(-1, 3)


def label_picture(
    scene: str, cloud: np.ndarray, labels: np.ndarray, best: np.ndarray, names: Sequence[str]
) -> Picture:
    """Show labels beside predictions.

    Args:
        scene: its id.
        cloud: [N,3|6].
        labels, best: [N], true and predicted; -1: none.
        names: of the K classes.
    """
    colors = np.concatenate([class_colors(len(names)), NONE[None]])  # -1 is the last one
    return {
        "id": scene,
        "panels": [
            _panel("colours", cloud),
            _panel("true labels", _colored(cloud, colors[labels])),
            _panel("predicted labels", _colored(cloud, colors[best])),
        ],
        "legend": _legend(names, colors, np.union1d(labels, best)),
    }


def mask_picture(
    scene: str,
    cloud: np.ndarray,
    instance: np.ndarray,
    found: InstancePrediction,
    names: Sequence[str],
) -> Picture:
    """Show instances beside the best predicted masks, each in a colour of its own."""
    order = np.argsort(-found.scores, kind="stable")
    order = order[found.scores[order] >= LEAST_SCORE][:SHOWN]
    colors = class_colors(max(int(instance.max(initial=0)) + 1, len(order)))
    predicted = np.tile(NONE, (len(cloud), 1))
    for color, row in reversed(list(zip(colors, order, strict=False))):
        predicted[found.masks[row]] = color
    true = np.concatenate([colors, NONE[None]])[np.maximum(instance, -1)]
    texts = [f"{names[found.labels[row]]} {found.scores[row]:.2f}" for row in order]
    return {
        "id": scene,
        "panels": [
            _panel("colours", cloud),
            _panel("true instances", _colored(cloud, true)),
            _panel("predicted instances", _colored(cloud, predicted)),
        ],
        "legend": _legend(texts, colors, np.arange(len(texts))),
    }


def box_picture(
    scene: str,
    cloud: np.ndarray,
    annotated: tuple[np.ndarray, np.ndarray],
    found: tuple[np.ndarray, np.ndarray, np.ndarray],
    names: Sequence[str],
) -> Picture:
    """Show annotated boxes beside the best predicted ones.

    Args:
        scene, cloud: as above.
        annotated: boxes [G,6|7] and labels [G].
        found: boxes [P,6|7], labels [P] and scores [P].
        names: of the K classes.
    """
    boxes, labels, scores = found
    kept = np.argsort(-scores, kind="stable")
    kept = kept[scores[kept] >= LEAST_SCORE][:SHOWN]
    colors = class_colors(len(names))
    return {
        "id": scene,
        "panels": [
            _panel("annotated boxes", cloud, box_edges(annotated[0], colors[annotated[1]])),
            _panel("predicted boxes", cloud, box_edges(boxes[kept], colors[labels[kept]])),
        ],
        "legend": _legend(names, colors, np.union1d(annotated[1], labels[kept])),
    }


def target_picture(
    scene: str, cloud: np.ndarray, meant: np.ndarray, mask: np.ndarray, text: str
) -> Picture:
    """Show the object that a sentence means beside the predicted mask, in red."""
    faded = _rgb(cloud) * 0.4 + NONE * 0.6
    return {
        "id": scene,
        "panels": [
            _panel(name, _colored(cloud, np.where(rows[:, None], MARKED, faded)))
            for name, rows in {"meant object": meant, "predicted mask": mask}.items()
        ],
        "legend": [[text, _hex(MARKED)]],
    }


def box_edges(boxes: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Return coloured points [M,6] along the edges of boxes [K,6|7]."""
    parts = []
    for box, color in zip(boxes, colors, strict=True):
        corners = np.array([[x, y, z] for y in (-0.5, 0.5) for x, z in plan_of(box)])
        corners[:, 1] = corners[:, 1] * box[4] + box[1]
        ends = [(k, (k + 1) % 4) for k in range(4)]
        edges = [*ends, *((a + 4, b + 4) for a, b in ends), *((k, k + 4) for k in range(4))]
        line = np.concatenate([_line(corners[a], corners[b]) for a, b in edges])
        parts.append(np.concatenate([line, np.tile(color, (len(line), 1))], axis=1))
    return np.concatenate(parts) if parts else np.zeros((0, 6))


def _line(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    count = min(int(np.linalg.norm(end - start) / EDGE_STEP), 50) + 2
    return np.linspace(start, end, count)


def _panel(name: str, cloud: np.ndarray, more: np.ndarray | None = None) -> dict[str, Any]:
    """Encode an even part of a cloud, and `more` points as they are."""
    colored = _colored(cloud, _rgb(cloud))[_shown(cloud)]
    whole = colored if more is None else np.concatenate([colored, more])
    return {"name": name, "cloud": encode_cloud(whole, len(whole))}


def _shown(cloud: np.ndarray) -> np.ndarray:
    """Return the rows of the points that are shown: few of the walls, which hide the objects."""
    plan = cloud[:, [0, 2]]
    low, high = plan.min(axis=0, initial=np.inf), plan.max(axis=0, initial=-np.inf)
    side = ((plan - low < SIDE) | (high - plan < SIDE)).any(axis=1)
    rows = np.flatnonzero(~side | (np.arange(len(cloud)) % THINNED == 0))
    return rows[:: -(-len(rows) // POINTS) or 1]


def _rgb(cloud: np.ndarray) -> np.ndarray:
    return cloud[:, 3:6] if cloud.shape[1] == 6 else np.tile(NONE, (len(cloud), 1))


def _colored(cloud: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    return np.concatenate([cloud[:, :3], rgb], axis=1)


def _legend(names: Sequence[str], colors: np.ndarray, shown: np.ndarray) -> list[list[str]]:
    return [[str(names[k]), _hex(colors[k])] for k in shown.tolist() if k >= 0]


def _hex(color: np.ndarray) -> str:
    return "#" + "".join(f"{round(255 * float(part)):02x}" for part in color)


def scenes_json(pictures: Sequence[Picture]) -> str:
    """Return the pictures as the text of a file."""
    return json.dumps(pictures, sort_keys=True)


def picture_clouds(pictures: Sequence[Picture], prefix: str = "") -> dict[str, Any]:
    """Return {name of a canvas: encoded cloud}; `prefix` tells the tasks of a page apart."""
    return {_name(p, panel, prefix): panel["cloud"] for p in pictures for panel in p["panels"]}


def _name(picture: Picture, panel: dict[str, Any], prefix: str) -> str:
    return f"{prefix} {picture['id']}: {panel['name']}".strip()


def picture_html(picture: Picture, prefix: str = "") -> str:
    """Return a scene's panels side by side, with the legend below."""
    panels = "".join(
        f'<article class="card">{canvas(_name(picture, panel, prefix), panel["name"])}'
        f'<div class="body"><p class="tag">{escape(panel["name"])}</p></div></article>'
        for panel in picture["panels"]
    )
    # Attributes of SVG, no style: the page's policy forbids inline styles.
    signs = " ".join(
        f'<span><svg width="12" height="12" aria-hidden="true"><rect width="12" height="12" '
        f'fill="{escape(color)}"/></svg> {escape(name)}&emsp;</span>'
        for name, color in picture["legend"]
    )
    head = f"<h3>{escape(picture['id'])}</h3>"
    return f'{head}<div class="grid">{panels}</div><p class="small">{signs}</p>'


def scene_page(title: str, pictures: Sequence[Picture]) -> str:
    """Return a page of pictures that loads nothing."""
    style, script = style_and_script()
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{content_policy(style, script)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><link rel="icon" href="data:,"><style>{style}</style></head>
<body><header><h1>{escape(title)}</h1>
<p class="controls"><button type="button" id="pause" aria-pressed="false">Pause rotation</button>
<span>Drag a cloud to turn it, or focus it and use the arrow keys.</span></p></header>
<main>{"".join(map(picture_html, pictures))}</main>
<script type="application/json" id="clouds">{as_script(picture_clouds(pictures))}</script>
<script>{script}</script></body></html>
"""
