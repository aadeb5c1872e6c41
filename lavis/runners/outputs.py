"""The folder of one job: checkpoints, log, resolved config, `result/`, and the `latest` link."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from lavis.common.dist_utils import from_main
from lavis.common.files import make_folder
from lavis.common.folder_owner import folder_in_use
from lavis.common.registry import registry


def job_path(output_dir: str, job_id: str) -> Path:
    """Return `<output_dir>/<job_id>` (relative: below the root)."""
    return Path(registry.get_path("library_root") or ".", Path(output_dir).expanduser()) / job_id


@contextlib.contextmanager
def held_folder(output_dir: str, job_id: str) -> Iterator[None]:
    """Create a job's folder and hold it for this run; rank 0 does, every rank returns after it.

    Raises:
        ConfigError: on every rank; the folder cannot be created, or another run holds it.
    """
    with contextlib.ExitStack() as held:

        def hold() -> None:
            folder = make_folder(job_path(output_dir, job_id))
            held.enter_context(folder_in_use(folder))

        from_main(hold)
        yield


def job_folder(output_dir: str, job_id: str) -> Path:
    """Create `<output_dir>/<job_id>/result` (relative: below the root) and return the job's folder.

    Rank 0 creates it and points `<output_dir>/latest` at it; every rank returns when it exists.

    Raises:
        ConfigError: on every rank; the folder cannot be created.
    """
    folder = job_path(output_dir, job_id)

    def create() -> None:
        make_folder(folder / "result")
        try:
            point_latest(folder.parent, job_id)
        except OSError as error:
            logging.warning("%s cannot point to this job: %s", folder.parent / "latest", error)

    from_main(create)
    return folder


def point_latest(base: Path, job_id: str) -> None:
    """Make `base/latest` a relative link to `job_id`, in one step."""
    link = base / "latest"
    if link.exists() and not link.is_symlink():
        return  # a folder of the user's own: left alone
    partial = base / f".latest.{os.getpid()}"
    partial.unlink(missing_ok=True)
    partial.symlink_to(job_id)
    os.replace(partial, link)


def register_paths(folder: Path) -> None:
    """Register the folder of results for stock code.

    `registry.register_path` refuses a second runner in one process, so the public mapping is set.
    """
    registry.mapping["paths"]["output_dir"] = str(folder)
    registry.mapping["paths"]["result_dir"] = str(folder / "result")
