"""Demo in the browser: describe, chat, classify, search and label your own 3D files.

    python -m pointlang.app                            # every system below output/
    python -m pointlang.app output/demo my_hub_folder  # these
    python -m pointlang.app --objects my_meshes/       # objects to pick and to search in

Offline: the page loads nothing from other hosts and reports nothing. docs/app.md has the rest.
"""

from __future__ import annotations

import argparse
import errno
import importlib.util
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lavis.common.command import command_parser, positive
from lavis.common.errors import ConfigError, DependencyError, PointLanguageError
from lavis.common.preemption import leave_at_signals

INSTALL = "pip install --no-deps -r requirements-app.txt"
# Read when gradio is imported. Scripts, styles and fonts are in its wheel.
OFFLINE = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
HOST, PORT = "127.0.0.1", 7860


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the demo until Ctrl+C; 2 when it cannot start."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        check_installed()
        check_address(given.host, given.port)
        with leave_at_signals("while serving the demo"):
            serve(given)
    except PointLanguageError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def serve(given: argparse.Namespace) -> None:
    """Start the readers, find the systems, read the objects, and serve the page.

    Raises:
        ConfigError: no system.
        DataError: no object in the folder.
    """
    os.environ.update(OFFLINE)
    with tempfile.TemporaryDirectory(prefix="pointlang_app_") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # uploads and pictures end with the server
        from pointlang.app import reading
        from pointlang.app.collection import open_collection
        from pointlang.app.service import Service

        reading.prepare()
        items = open_collection(given.objects)
        service = Service(given.systems, items, given.device, given.root, given.read_seconds)
        from pointlang.app import page
        from pointlang.app.policy import middleware

        print(f"Demo: http://{given.host}:{given.port}/ (Ctrl+C ends it)", file=sys.stderr)
        page.build(service, Path(folder)).launch(
            server_name=given.host,
            server_port=given.port,
            max_file_size=f"{given.max_megabytes}mb",
            theme=page.THEME,
            css=page.CSS,
            app_kwargs={"middleware": middleware()},
            quiet=True,  # its own line proposes a public link
            footer_links=[],
            run_history=False,
            share=False,
            ssr_mode=False,
            pwa=False,
            enable_monitoring=False,
            state_session_capacity=100,
            show_error=False,
        )


def check_installed() -> None:
    """Refuse to start without gradio.

    Raises:
        DependencyError: with the command that installs it.
    """
    if importlib.util.find_spec("gradio") is None:
        raise DependencyError("gradio is not installed.", fix=INSTALL)


def check_address(host: str, port: int) -> None:
    """Refuse an address that cannot be listened on.

    Raises:
        ConfigError: the port is in use, or the host is none of this machine's.
    """
    try:
        socket.create_server((host, port)).close()
    except (OSError, OverflowError) as error:
        busy = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        what = "The port is in use." if busy else "The demo cannot listen on this address."
        fix = f"--port {port + 1}, or end the program that uses it" if busy else f"--host {HOST}"
        where, got = f"--host {host} --port {port}", str(error)
        raise ConfigError(what, where=where, got=got, fix=fix) from error


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(__doc__, "python -m pointlang.app")
    add = parser.add_argument
    add("systems", nargs="*", help="names below output/, run or hub folders (default: all)")
    add("--root", type=Path, metavar="FOLDER", help="folder of the systems (default: output/)")
    add("--objects", type=Path, metavar="FOLDER", help="files to pick from (default: the bricks)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1 …")
    add("--host", default=HOST, help="0.0.0.0 lets other machines in (default: %(default)s)")
    add("--port", type=int, default=PORT, help="(default: %(default)s)")
    add("--max-megabytes", type=positive, default=200, help="of an upload (default: %(default)s)")
    add("--read-seconds", type=positive, default=60, help="for a file (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
