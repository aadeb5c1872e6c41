"""Point clouds and language on LAVIS: our layer over the installed salesforce-lavis.

This package has the same name as the installed one. Run from the repository root it is found first,
and `extend_path` adds the installed folders behind it: our file wins, everything else is stock
code. `lavis/README.md` lists each stock module that we replace, and why.

Importing registers the roots (`library_root`, `repo_root`, `cache_root`) and every model, task,
processor, builder and runner. transformers is not imported until a model needs it.
"""

import io
import sys
from pathlib import Path
from pkgutil import extend_path

from lavis._guard import require_salesforce_lavis

__path__ = extend_path(__path__, __name__)
require_salesforce_lavis()

from lavis.common.threads import prepare_threads  # noqa: E402

prepare_threads()  # before torch is imported

from omegaconf import OmegaConf  # noqa: E402

from lavis.common.registry import registry  # noqa: E402

REPO_ROOT = Path(__file__).resolve().parent.parent


def _register_roots() -> None:
    """Register the paths that stock code reads, once per process."""
    default_cfg = OmegaConf.load(REPO_ROOT / "configs" / "default.yaml")
    cache_root = Path(default_cfg.env.cache_root).expanduser()
    # library_root is where component defaults (configs/…) and outputs (output/…) are resolved.
    registry.register_path("library_root", str(REPO_ROOT))
    registry.register_path("repo_root", str(REPO_ROOT))
    registry.register_path("cache_root", str(REPO_ROOT / cache_root))
    registry.register("MAX_INT", sys.maxsize)
    registry.register("SPLIT_NAMES", ["train", "val", "test"])


def _print_every_character() -> None:
    """Let a terminal of another encoding than UTF-8 show escapes in place of an exception."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


_register_roots()
_print_every_character()

from lavis import processors, models, tasks, runners  # noqa: E402, F401, I001
from lavis.datasets import builders  # noqa: E402, F401
