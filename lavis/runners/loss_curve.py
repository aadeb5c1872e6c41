"""The loss curve of a run as a PNG, drawn from its `log.jsonl`.

python -m lavis.runners.loss_curve output/demo/stage1
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSON-lines log; a line cut off by a kill is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            logging.warning("%s: a cut line is left out", path)
    return rows


def curves(rows: list[dict[str, Any]]) -> dict[str, dict[int, float]]:
    """Return {loss: {step: value}}; a step that a resumed run did again counts as done last."""
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        if row.get("kind") == "train":
            for name, value in row.items():
                if name.startswith("loss"):
                    found.setdefault(name, {})[int(row["step"])] = value
    return {name: dict(sorted(points.items())) for name, points in found.items()}


def draw(folder: Path) -> Path | None:
    """Write `<folder>/loss.png`; None (and a warning) when that is not possible.

    Args:
        folder: of a job, with `log.jsonl`.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        losses = curves(read_rows(folder / "log.jsonl"))
        figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for name, points in losses.items():
            axes.plot(list(points), list(points.values()), label=name, linewidth=1.2)
        axes.set_xlabel("optimiser step")
        axes.set_ylabel("loss")
        axes.set_title(folder.name)
        if losses:
            axes.legend(frameon=False)
        path = folder / "loss.png"
        figure.savefig(path)
    except Exception as error:  # a missing picture must not end a run
        logging.warning("no loss curve: %s", error)
        return None
    return path


if __name__ == "__main__":
    print(draw(Path(sys.argv[1])))
