"""The pictures of an alignment study: a joint t-SNE as PNG and as a page that needs no network.

As in PointLLM-Contrastive's visualize_tsne.py: two dimensions, perplexity min(10, n-1), seed 42,
1000 iterations, 50 objects, all sets of one space fitted together. t-SNE: van der Maaten and
Hinton, JMLR 9, 2008.
"""

from __future__ import annotations

import html
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lavis.common.errors import EvaluationError
from lavis.common.files import replace_file

if TYPE_CHECKING:
    from lavis.tasks.alignment_compare import Member

MIN_SAMPLES = 4
TEMPLATE = Path(__file__).with_name("alignment_page.html")
# Colour-blind safe (Okabe and Ito); texts are dark triangles, so that shape shows them, too.
COLORS = ("#999999", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
TEXT_COLOR = "#222222"


@dataclass
class Panel:
    """One t-SNE.

    Attributes:
        title: of the panel.
        sets: {set name: coordinates [n,2]}; the last one is the texts.
        labels: the n texts, in the order of every set.
    """

    title: str
    sets: dict[str, np.ndarray]
    labels: list[str]


def joint_tsne(
    sets: dict[str, np.ndarray], perplexity: float = 10.0, seed: int = 42, iterations: int = 1000
) -> dict[str, np.ndarray]:
    """Fit one t-SNE to several sets [n,E] of one space.

    Args:
        sets: rows of embeddings by name.
        perplexity: lowered to the number of rows - 1 where there are few.
        seed: equal input and seed give equal coordinates.
        iterations: of the optimisation.

    Returns:
        Coordinates float64 [n,2] by name.

    Raises:
        EvaluationError: a set of fewer than 4 rows.
    """
    from sklearn.manifold import TSNE

    for name, rows in sets.items():
        if len(rows) < MIN_SAMPLES:
            raise EvaluationError(
                "too few objects for a t-SNE",
                where=name,
                got=f"{len(rows)} objects",
                expected=f"at least {MIN_SAMPLES}",
                fix="evaluate more objects (build_info.limit) or raise --samples",
            )
    joined = np.concatenate(list(sets.values())).astype(np.float32)
    fitted = TSNE(
        n_components=2,
        perplexity=min(perplexity, len(joined) - 1),
        random_state=seed,
        max_iter=iterations,
    ).fit_transform(joined)
    parts = np.split(fitted.astype(np.float64), np.cumsum([len(r) for r in sets.values()])[:-1])
    return dict(zip(sets, parts, strict=True))


def tsne_panels(members: Sequence[Member], samples: int = 50) -> list[Panel]:
    """Fit one panel for each space: the first member's, with all that share it, comes first."""
    panels, rest = [], list(members)
    while rest:
        group = [member for member in rest if member.shares_space(rest[0])]
        rest = [member for member in rest if member not in group]
        sets = {member.name: member.pairs.points[:samples] for member in group}
        coordinates = joint_tsne(sets | {"text": group[0].pairs.texts[:samples]})
        title = ", ".join(sets) + " and text"
        panels.append(Panel(title, coordinates, group[0].names[:samples]))
    return panels


def set_colors(panels: Sequence[Panel]) -> dict[str, str]:
    """Give every set one colour in all panels."""
    names = dict.fromkeys(name for panel in panels for name in panel.sets if name != "text")
    colors = {name: COLORS[index % len(COLORS)] for index, name in enumerate(names)}
    return colors | {"text": TEXT_COLOR}


def draw_png(panels: Sequence[Panel], path: Path) -> None:
    """Draw the panels side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8 * len(panels), 7), layout="constrained")
    FigureCanvasAgg(figure)
    colors = set_colors(panels)
    for panel, axes in zip(panels, figure.subplots(1, len(panels), squeeze=False)[0]):
        for name, xy in panel.sets.items():
            marker, size = ("^", 40) if name == "text" else ("o", 60)
            axes.scatter(
                *xy.T, s=size, c=colors[name], marker=marker, label=name, alpha=0.75, linewidths=0
            )
        axes.set_title(panel.title)
        axes.set_xlabel("t-SNE 1")
        axes.set_ylabel("t-SNE 2")
        axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=120, format="png")
    replace_file(path, buffer.getvalue())


def draw_page(panels: Sequence[Panel], record: dict[str, Any], path: Path) -> None:
    """Write the page: panels with the text of each point, switches for sets, and the figures."""
    content = {
        "colors": set_colors(panels),
        "panels": [
            {
                "title": panel.title,
                "labels": panel.labels,
                "sets": {name: np.round(xy, 3).tolist() for name, xy in panel.sets.items()},
            }
            for panel in panels
        ],
    }
    # "<" is escaped so that no text can close the script element.
    embedded = json.dumps(content).replace("<", "\\u003c")
    page = TEMPLATE.read_text(encoding="utf-8")
    page = page.replace("{{verdict}}", html.escape(record["extra"]["verdict"]))
    page = page.replace("{{table}}", figures_table(record)).replace("{{content}}", embedded)
    replace_file(path, page.encode("utf-8"))


def figures_table(record: dict[str, Any]) -> str:
    """Every figure of every member with its interval, as HTML."""
    members = record["extra"]["members"]
    figures = dict.fromkeys(name for details in members.values() for name in details["figures"])
    head = "".join(f"<th>{html.escape(name)}</th>" for name in members)
    rows = []
    for figure in figures:
        cells = "".join(
            f"<td>{_cell(details['figures'].get(figure))}</td>" for details in members.values()
        )
        rows.append(f"<tr><th>{html.escape(figure.replace('_', ' '))}</th>{cells}</tr>")
    return f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>"


def _cell(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return "–"
    interval = entry["ci95"]
    shown = f" <small>[{interval[0]:.3f}, {interval[1]:.3f}]</small>" if interval else ""
    return f"{entry['value']:.3f}{shown}"
