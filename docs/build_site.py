"""Build the documentation as a site that works offline.

    python docs/build_site.py                      # output/docs/site/index.html
    python docs/build_site.py --source-only        # the pages alone, without Zensical

The README is the first page, the reference of the facade is written from its docstrings, and the
other pages are docs/*.md. Links to files outside of docs/ become text: a site is copied alone.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS, FACADE = ROOT / "docs", "pointlang"
# Title and page; pages that are not listed follow under "More".
PAGES = (
    ("Start", "index.md"),
    ("Your data", "your_data.md"),
    ("Built-in data", "data_sources.md"),
    ("Predict", "predict.md"),
    ("Demo in the browser", "app.md"),
    ("Sharing", "sharing.md"),
    ("Systems", "systems/"),
    ("Abilities", "abilities.md"),
    ("Encoders", "encoders.md"),
    ("Evaluation", "evaluation.md"),
    ("Training and faults", "training.md"),
    ("Scaling", "scaling.md"),
    ("Leaderboard", "leaderboard.md"),
    ("Results", "results.md"),
    ("Facade", "api.md"),
    ("Architecture", "architecture.md"),
    ("Dead ends and experiments", "LOG.md"),
)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_FILES = ("*.md", "*.png", "*.svg")
_CONFIG = """[project]
site_name = "Point clouds and language"
docs_dir = "source"
site_dir = "site"
use_directory_urls = false
nav = [
{nav}
]

[project.theme]
font = false
language = "en"
"""


def write_source(folder: Path) -> list[Path]:
    """Write the pages of the site; return them.

    Args:
        folder: new or empty.
    """
    for pattern in _FILES:
        for path in sorted(DOCS.rglob(pattern)):
            target = folder / path.relative_to(DOCS)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (folder / "index.md").write_text(readme.replace("](docs/", "]("), encoding="utf-8")
    (folder / "api.md").write_text(api_page(FACADE), encoding="utf-8")
    pages = sorted(folder.rglob("*.md"))
    for page in pages:
        page.write_text(without_outer_links(page, folder), encoding="utf-8")
    return pages


def without_outer_links(page: Path, folder: Path) -> str:
    """Return a page whose links to files that are not of the site are their text alone."""

    def keep(link: re.Match[str]) -> str:
        target = link[3].split("#")[0]
        outside = not target or "://" in target or (page.parent / target).is_file()
        return link[0] if outside else link[2]

    return _LINK.sub(keep, page.read_text(encoding="utf-8"))


def api_page(package: str) -> str:
    """Return the reference of a package: signatures and docstrings of what it exports."""
    importlib.import_module("lavis")  # before torch: it sets the waiting of threads
    module = importlib.import_module(package)
    parts = [f"# {package}", _block(module)]
    for name in module.__all__:
        parts += _entry(name, getattr(module, name), "##")
    return "\n\n".join(parts) + "\n"


def _entry(name: str, value: object, level: str) -> list[str]:
    """Return heading, signature and docstring of a function, or of a class with its methods."""
    heading = [f"{level} {name}", f"```python\n{name}{_signature(value)}\n```", _block(value)]
    for method, function in _methods(value):
        heading += _entry(f"{name}.{method}", function, f"{level}#")
    return heading


def _methods(value: object) -> Iterator[tuple[str, object]]:
    """Yield public methods and properties that a class defines itself."""
    if inspect.isclass(value):
        for name, member in vars(value).items():
            if not name.startswith("_") and (inspect.isroutine(member) or _is_property(member)):
                yield name, getattr(member, "__func__", member)


def _is_property(member: object) -> bool:
    return isinstance(member, property) or hasattr(member, "attrname")


def _signature(value: object) -> str:
    try:
        return str(inspect.signature(value)) if callable(value) else ""
    except ValueError:
        return ""


def _block(value: object) -> str:
    """Return a docstring whose layout survives Markdown: the first paragraph, the rest as text."""
    first, _, rest = (inspect.getdoc(value) or "").partition("\n\n")
    return f"{first}\n\n```text\n{rest}\n```" if rest else first


def navigation(folder: Path) -> str:
    """Return the entries of the site's navigation for the pages that are there."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*.md")}
    entries, listed = [], set()
    for title, page in PAGES:
        own = sorted(n for n in names if n.startswith(page)) if page.endswith("/") else [page]
        own = [name for name in own if name in names]
        listed |= set(own)
        entries += [_nav(title, own)] if own else []
    return "\n".join([*entries, _nav("More", sorted(names - listed))])


def _nav(title: str, pages: list[str]) -> str:
    quoted = ", ".join(f'"{page}"' for page in pages)
    single = len(pages) == 1 and not pages[0].startswith("systems/")
    return f'  {{ "{title}" = {quoted if single else f"[{quoted}]"} }},'


def build(out: Path, source_only: bool = False) -> Path:
    """Build the site below `out`; return its first page.

    Raises:
        SystemExit: Zensical is not installed, or reports a problem.
    """
    shutil.rmtree(out, ignore_errors=True)
    (out / "source").mkdir(parents=True)
    write_source(out / "source")
    (out / "zensical.toml").write_text(_CONFIG.format(nav=navigation(out / "source")))
    if source_only:
        return out / "source" / "index.md"
    if importlib.util.find_spec("zensical") is None:
        raise SystemExit("zensical is not installed: pip install -r requirements-docs.txt")
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    subprocess.run(command, cwd=out, check=True)
    return out / "site" / "index.html"


def main() -> None:
    """Build from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "output" / "docs")
    parser.add_argument("--source-only", action="store_true", help="the pages, without Zensical")
    options = parser.parse_args()
    print(build(options.out, options.source_only))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
