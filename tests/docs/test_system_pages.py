"""Pages of docs/systems: their recipes load, their commands exist, their overrides are known."""

from __future__ import annotations

import re

import pytest

import lavis  # noqa: F401  (registers everything)
from lavis.config.run_config import RunConfig

# Pages with a table of the release's command line, and the recipe that its overrides are for.
PUBLISHED = {"mixcon3d": "lavis/projects/mixcon3d/train/openshape.yaml"}
PAGES = ("mixcon3d", "point_bind", "point_llm", "text4point")


@pytest.fixture(params=PAGES)
def page(request, repo_root):
    """Name and text of a page."""
    path = repo_root / "docs" / "systems" / f"{request.param}.md"
    return request.param, path.read_text(encoding="utf-8")


def test_every_system_page_is_tested(repo_root):
    assert {path.stem for path in (repo_root / "docs" / "systems").glob("*.md")} == set(PAGES)


def test_recipes_load_and_commands_exist(page, repo_root):
    _, text = page
    recipes = set(re.findall(r"--cfg-path (\S+\.yaml)", text))
    assert recipes
    for recipe in recipes:
        RunConfig.from_file(repo_root / recipe, [])
    for module in re.findall(r"python -m (lavis[\w.]+)", text):
        path = repo_root / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_typed_for_a_published_override_is_accepted(name, repo_root):
    text = (repo_root / "docs" / "systems" / f"{name}.md").read_text(encoding="utf-8")
    table = text.split("## Published overrides")[1].split("\n## ")[0]
    cells = [line.split("|")[2] for line in table.splitlines() if line.startswith("| `")]
    typed = [code for cell in cells for code in re.findall(r"`([^`]+)`", cell)]
    options = [c for c in typed if re.match(r"(run|model|datasets)\.\S+=", c) and "<" not in c]
    assert len(options) > 5
    for option in options:
        RunConfig.from_file(repo_root / PUBLISHED[name], option.split())


def test_recipe_headers_type_known_options(page, repo_root):
    name, _ = page
    for path in (repo_root / "lavis" / "projects" / name).rglob("*.yaml"):
        header = [line for line in path.read_text().splitlines() if line.startswith("#")]
        for line in header:
            found = re.search(r"--options ((?:\S+=\S+ ?)+)", line)
            if found and "<" not in found[1]:
                RunConfig.from_file(path, found[1].split())
