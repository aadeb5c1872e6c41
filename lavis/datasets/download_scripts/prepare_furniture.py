"""Prepare the built-in furniture: real objects with textures, names, tags, categories and sizes.

python -m lavis.datasets.download_scripts.prepare_furniture
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from lavis.common.errors import PointLanguageError
from lavis.datasets.download_scripts.furniture.models import prepare_models

ROOT = Path(__file__).parents[3]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when everything is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--models", type=Path, default=ROOT / "data/furniture_models")
    parser.add_argument("--packages", type=Path, help="downloads (default: beside --models)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        print(prepare_models(options.models, options.packages))
    except PointLanguageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
