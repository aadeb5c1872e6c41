"""A PNG of captioned test objects, for a README or a slide.

Objects are drawn as the page draws them: as many of the best third by CIDEr as of the middle and
the worst one.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.errors import EvaluationError
from lavis.common.files import replace_file
from lavis.datasets.viewer.encode import surface_normals
from lavis.evaluation.report.clouds import LoadCloud
from lavis.evaluation.report.examples import caption_examples
from lavis.evaluation.report.run_folder import TaskResult

WIDTH = 34  # characters of a line below an object
BACKGROUND = "#f4f4f6"
LIGHT = np.array([0.36, -0.48, 0.8])


def write_picture(
    path: Path, results: Sequence[TaskResult], load_cloud: LoadCloud, *, count: int = 6, seed: int
) -> Path:
    """Draw captioned objects with their references.

    Args:
        path: the PNG.
        results: of a run; captioning must be among them.
        load_cloud: cloud [P,6] of an object id, None when there is none.
        count: objects, a multiple of three.
        seed: of their choice.

    Raises:
        EvaluationError: no captions, or no cloud of a chosen object.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    captions = next((r.predictions for r in results if r.kind.folder == "captioning"), None)
    if captions is None:
        raise EvaluationError("the run has no captions to draw", where=str(path))
    examples = caption_examples(captions, count, seed)
    figure = Figure(figsize=(2.4 * len(examples), 3.1), dpi=100, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    for place, (entry, cider, _) in enumerate(examples):
        axes = figure.add_subplot(
            1, len(examples), place + 1, projection="3d", facecolor=BACKGROUND
        )
        _draw(axes, load_cloud(str(entry["image_id"])), str(entry["image_id"]))
        lines = textwrap.wrap(f"reference: {entry['2d_caption']}", WIDTH)
        lines += textwrap.wrap(f"model: {entry['caption']} (CIDEr {100 * cider:.0f})", WIDTH)
        axes.set_title("\n".join(lines), fontsize=8, y=-0.02, va="top")
    figure.subplots_adjust(left=0.0, right=1.0, top=1.0, bottom=0.28, wspace=0.0)
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    replace_file(path, content.getvalue())
    return path


def _draw(axes: Any, cloud: np.ndarray | None, object_id: str) -> None:
    """Scatter a cloud [P,6] without axes, all sides to one scale."""
    if cloud is None:
        raise EvaluationError("the object has no point cloud", where=object_id)
    xyz = cloud[:, :3] - (cloud[:, :3].min(0) + cloud[:, :3].max(0)) / 2
    xyz = xyz / max(float(np.abs(xyz).max()), 1e-9)
    shade = 0.5 + 0.5 * np.abs(surface_normals(xyz, xyz) @ LIGHT)  # signs of normals are arbitrary
    colors = np.clip(cloud[:, 3:6], 0, 0.9) * shade[:, None]  # white differs from the background
    axes.scatter(*xyz.T, c=colors, s=2.0, depthshade=False)
    axes.set_box_aspect((1, 1, 1), zoom=1.35)
    for limit in (axes.set_xlim, axes.set_ylim, axes.set_zlim):
        limit(-1, 1)
    axes.view_init(elev=25, azim=-60)
    axes.set_axis_off()
