"""The documentation as a site: links and commands of every page are true, and it builds offline."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_MODULE = re.compile(r"python(?:3\.11)? -m ((?:lavis|pointlang|benchmarks)(?:\.\w+)*)(?![\w.<{])")
_SCRIPT = re.compile(r"python (\w+\.py|docs/\w+\.py)")
_RECIPE = re.compile(r"--cfg-path (lavis/\S+\.yaml)")


@pytest.fixture(scope="module")
def site(repo_root):
    spec = importlib.util.spec_from_file_location("build_site", repo_root / "docs/build_site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(site, tmp_path_factory) -> list[Path]:
    return site.write_source(tmp_path_factory.mktemp("source"))


def documents(repo_root: Path) -> list[Path]:
    """Pages and notebooks; the texts and commands of a notebook are lines of its JSON."""
    pages = [repo_root / "README.md", *sorted((repo_root / "docs").rglob("*.md"))]
    return [*pages, *sorted((repo_root / "notebooks").glob("*.ipynb"))]


def test_every_page_is_there_once(site, pages, repo_root):
    folder = next(page for page in pages if page.name == "index.md").parent
    listed = re.findall(r'"([^"]+\.md)"', site.navigation(folder))
    assert sorted(listed) == sorted(p.relative_to(folder).as_posix() for p in pages)


def test_links_of_the_site_stay_in_it(pages):
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target in _LINK.findall(page.read_text(encoding="utf-8"))
        if "://" not in target and not target.startswith("#")
        if not (page.parent / target.split("#")[0]).exists()
    ]
    assert broken == []


def test_links_of_the_documents_point_at_files(repo_root):
    broken = [
        f"{page.name}: {target}"
        for page in documents(repo_root)
        for target in _LINK.findall(page.read_text(encoding="utf-8"))
        if "://" not in target and not target.startswith("#")
        if not (page.parent / target.split("#")[0]).exists()
    ]
    assert broken == []


def test_commands_of_the_documents_exist(repo_root):
    absent = []
    for page in documents(repo_root):
        if page.name == "LOG.md":  # its commands are those of the commits that it names
            continue
        text = page.read_text(encoding="utf-8")
        for module in _MODULE.findall(text):
            path = repo_root / module.rstrip(".").replace(".", "/")
            if not (path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()):
                absent.append(f"{page.name}: {module}")
        files = [
            *_SCRIPT.findall(text),
            *(r for r in _RECIPE.findall(text) if not set(r) & set("<*…{")),
        ]
        absent += [f"{page.name}: {name}" for name in files if not (repo_root / name).is_file()]
    assert absent == []


def test_make_targets_of_the_documents_exist(repo_root):
    makefile = (repo_root / "Makefile").read_text()
    for page in documents(repo_root):
        for line in re.findall(r"`(make [^`]+)`", page.read_text(encoding="utf-8")):
            target = shlex.split(line)[1]
            assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), (page.name, line)


def test_the_reference_names_every_export_with_its_docstring(site):
    import pointlang

    page = site.api_page("pointlang")
    for name in pointlang.__all__:
        assert f"## {name}\n" in page
    assert "### System.caption" in page
    assert "Return" in page


def test_links_that_leave_the_site_become_text(site, tmp_path):
    (tmp_path / "own.md").write_text("own")
    page = tmp_path / "page.md"
    page.write_text("[a](own.md#x) [b](../train.py) [c](https://x.org) ![d](gone.png) [e](#top)")
    wanted = "[a](own.md#x) b [c](https://x.org) d [e](#top)"
    assert site.without_outer_links(page, tmp_path) == wanted


@pytest.mark.slow
def test_the_site_builds_and_loads_nothing_from_other_hosts(site, tmp_path):
    pytest.importorskip("zensical", reason="requirements-docs.txt")
    index = site.build(tmp_path / "docs")
    html = index.read_text(encoding="utf-8")
    loaded = re.findall(r'<(?:script|img|iframe)[^>]+src="?(https?://[^\s">]+)', html)
    loaded += re.findall(
        r'<link[^>]+rel="?(?:stylesheet|preconnect)"?[^>]+href="?(https?://[^\s">]+)', html
    )
    assert loaded == []
    assert (index.parent / "api.html").is_file()
