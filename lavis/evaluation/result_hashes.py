"""The hashes of one evaluation's files, so that files of two evaluations are never read as one.

`<stem>.sha256` lists predictions, metrics and per-item values as sha256sum does; it is written last
(check by hand: `sha256sum -c test.sha256`). Results of before have no such file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lavis.common.errors import EvaluationError
from lavis.common.files import file_sha256, replace_file
from lavis.common.text_files import read_text

SUFFIX = "_metrics.json"


def write_hashes(folder: Path, stem: str, paths: Sequence[Path]) -> Path:
    """Write `<stem>.sha256` for the files of one evaluation in `folder`."""
    lines = [f"{file_sha256(path)}  {path.name}\n" for path in paths]
    replace_file(folder / f"{stem}.sha256", "".join(lines).encode("utf-8"))
    return folder / f"{stem}.sha256"


def check_hashes(metrics: Path) -> None:
    """Compare the files of an evaluation with the hashes that it wrote.

    Args:
        metrics: `<stem>_metrics.json`; without `<stem>.sha256` nothing is compared.

    Raises:
        EvaluationError: a file is of another evaluation, or was changed.
    """
    hashes = metrics.with_name(f"{metrics.name.removesuffix(SUFFIX)}.sha256")
    if not hashes.is_file():
        return
    for line in read_text(hashes).splitlines():
        digest, _, name = line.partition("  ")
        path = hashes.parent / Path(name).name
        if path.is_file() and file_sha256(path) != digest:
            raise EvaluationError(
                "predictions, scores and per-item values are not of one evaluation",
                where=str(path),
                got=f"another sha256 than {hashes.name} lists",
                expected=digest,
                fix="evaluate again, or restore the files that were written together",
            )
