"""Let `import lavis` find this checkout from any folder: `python lavis/_link.py` (by make setup).

Without the link, a script outside the root gets the stock package alone, which fails on today's
libraries. The line puts the root before site-packages, so PYTHONPATH and a script's own folder
still come first.
"""

import sysconfig
from pathlib import Path

FILE = "point_language_lavis.pth"


def link_line(root: Path) -> str:
    """Return the line of the .pth file; Python runs it at every start."""
    sites = "('site-packages', 'dist-packages')"
    first = f"next((i for i, p in enumerate(sys.path) if p.endswith({sites})), 0)"
    return f"import sys; sys.path.insert({first}, {str(root)!r})\n"


if __name__ == "__main__":
    target = Path(sysconfig.get_path("purelib"), FILE)
    target.write_text(link_line(Path(__file__).resolve().parent.parent), encoding="utf-8")
    print(f"linked by {target}")
