"""docs/evaluation.md defines what the published tables print."""

from __future__ import annotations

import json
import re


def test_every_published_baseline_is_defined(repo_root):
    page = (repo_root / "docs/evaluation.md").read_text(encoding="utf-8")
    sections = [page.split(f"## {name}")[1].split("\n## ")[0] for name in ("Baselines", "Scenes")]
    table = "\n".join(sections)
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    defined = set(re.findall(r"`(\w+)`", " ".join(first_cells)))
    files = [json.loads(p.read_text("utf-8")) for p in (repo_root / "docs/results").glob("*.json")]
    records = [r for found in files for r in (found if isinstance(found, list) else [found])]
    used = {name.removesuffix("_own_size") for r in records for name in r["baselines"]}
    assert len(used) > 10
    assert used - defined == set()


def test_commands_of_the_page_exist(repo_root):
    page = (repo_root / "docs/evaluation.md").read_text(encoding="utf-8")
    modules = set(re.findall(r"python -m ([\w.]+)", page))
    assert "benchmarks.recompute" in modules
    for module in modules:
        path = repo_root / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
