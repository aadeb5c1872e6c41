"""The README tells the truth: its tree, its commands, its links and its table."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def readme(repo_root: Path) -> str:
    return (repo_root / "README.md").read_text(encoding="utf-8")


def tree_paths(readme: str) -> list[str]:
    """Paths of the annotated tree; indentation nests them."""
    block = readme.split("## Tree")[1].split("```")[1]
    paths, parents = [], []
    for line in filter(str.strip, block.splitlines()):
        depth = (len(line) - len(line.lstrip())) // 2
        parents = [*parents[:depth], line.split()[0].rstrip("/")]
        paths.append("/".join(parents))
    return paths


def test_every_path_of_the_tree_exists(readme, repo_root):
    paths = tree_paths(readme)
    assert len(paths) > 15
    assert [p for p in paths if not (repo_root / p).exists()] == []


def test_every_room_is_in_the_tree(readme, repo_root):
    rooms = {f"lavis/{p.name}" for p in (repo_root / "lavis").iterdir() if p.is_dir()}
    rooms = {room for room in rooms if not room.endswith("__pycache__")}
    assert rooms <= set(tree_paths(readme))


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", "lavis/README.md", "data/README.md"]
)
def test_links_point_at_files(document, repo_root):
    path = repo_root / document
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        if not target.startswith(("http", "#")):
            assert (path.parent / target).exists(), f"{document}: {target}"


def test_every_recipe_that_a_command_names_loads(readme, repo_root):
    from lavis.config.run_config import RunConfig

    commands = ""
    for target in ("demo", "full", "study"):
        planned = ["make", "-n", target]
        commands += subprocess.run(planned, cwd=repo_root, capture_output=True, text=True).stdout
    recipes = set(re.findall(r"--cfg-path (\S+\.yaml)", readme + commands))
    assert len(recipes) >= 12
    for recipe in sorted(recipes):
        run_cfg = RunConfig.from_file(repo_root / recipe, []).run_cfg
        assert run_cfg.task or run_cfg.evaluations


def test_every_make_target_of_the_readme_exists(readme, repo_root):
    makefile = (repo_root / "Makefile").read_text()
    for target in set(re.findall(r"make (\w+)", readme)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_arch_and_type_names_are_registered(readme):
    from lavis.common.registry import registry

    rows = re.findall(
        r"^\| PointBLIP[^|]*\| `(\w+)` \|[^|]*\| (.+) \|$", readme, flags=re.MULTILINE
    )
    assert {arch for arch, _ in rows} == {"point_blip", "point_blip_llm"}
    for arch, types in rows:
        known = registry.get_model_class(arch).PRETRAINED_MODEL_CONFIG_DICT
        assert set(re.findall(r"`([^`]+)`", types)) == set(known)


@pytest.mark.parametrize("module", ["lavis.evaluation.tables", "benchmarks.tables"])
def test_tables_are_generated(repo_root, module):
    command = [sys.executable, "-m", module, "--check"]
    done = subprocess.run(command, cwd=repo_root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_requirements_are_pinned(repo_root):
    for path in repo_root.glob("requirements*.txt"):
        for line in path.read_text().splitlines():
            requirement = line.split("#")[0].strip()
            pinned = re.fullmatch(r'[\w.-]+==[\w.]+(; sys_platform == "linux")?', requirement)
            assert not requirement or pinned or requirement.startswith("-r requirements"), line
