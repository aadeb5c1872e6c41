"""lavis/README.md lists exactly the stock modules that our files replace."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path


def installed_modules() -> set[str]:
    """Paths below lavis/ of the installed salesforce-lavis."""
    files = importlib.metadata.files("salesforce-lavis") or []
    return {str(f).removeprefix("lavis/") for f in files if str(f).startswith("lavis/")}


def test_table_lists_every_replaced_module(repo_root: Path):
    ours = {str(p.relative_to(repo_root / "lavis")) for p in (repo_root / "lavis").rglob("*.py")}
    replaced = ours & installed_modules()
    section = (
        (repo_root / "lavis/README.md").read_text().split("## Stock modules that we replace")[1]
    )
    table = section.split("## ")[0]
    listed = set(re.findall(r"^\| `([^`]+\.py)` \|", table, flags=re.MULTILINE))
    assert listed == replaced


def test_nothing_patches_modules(repo_root: Path):
    pattern = re.compile(r"sys\.modules\[[^\]]*\]\s*=|setattr\((torch|transformers|lavis)\b")
    for path in (repo_root / "lavis").rglob("*.py"):
        assert not pattern.search(path.read_text(encoding="utf-8")), path
