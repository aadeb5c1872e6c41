"""Importing the overlay: what is registered, what is not imported, and the version guard."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest


def test_import_registers_without_transformers(repo_root):
    code = (
        "import sys, lavis; from lavis.common.registry import registry as r; "
        "assert 'transformers' not in sys.modules, 'transformers was imported'; "
        "print(r.list_models(), r.list_tasks(), r.list_runners(), r.list_datasets())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repo_root, capture_output=True, text=True, check=True
    )
    for name in (
        *("point_blip", "point_blip_llm", "point_text_pretrain", "point_captioning"),
        *("point_retrieval", "point_qa", "point_classification", "runner_point"),
        *("bricks_caption", "bricks_retrieval", "bricks_qa", "bricks_classification"),
        *("objaverse_caption", "objaverse_caption_tune"),
    ):
        assert f"'{name}'" in done.stdout


def test_our_files_win_and_stock_ones_are_reachable(repo_root):
    import lavis.common.registry
    import lavis.models.base_model

    import lavis.common.utils

    assert lavis.common.utils.__file__.startswith(str(repo_root / "lavis"))
    assert "site-packages" in lavis.common.registry.__file__
    assert "site-packages" in lavis.models.base_model.__file__


@pytest.mark.parametrize("installed", ["1.0.1", None])
def test_guard_names_the_command(monkeypatch, installed):
    from importlib.metadata import PackageNotFoundError

    from lavis import _guard

    def version(name: str) -> str:
        if installed is None:
            raise PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(_guard, "version", version)
    with pytest.raises(ImportError, match="--no-deps -r requirements-nodeps"):
        _guard.require_salesforce_lavis()


@pytest.mark.parametrize(
    ("former", "now"),
    [
        ("lavis.models.llm", "lavis.models.language.llm"),
        ("lavis.models.builtin_weights", "lavis.models.weights.builtin"),
        ("lavis.datasets.datasets.point_stores", "lavis.datasets.stores.point_stores"),
        ("lavis.datasets.datasets.tar_shards", "lavis.datasets.stores.tar_shards"),
    ],
)
def test_scripts_that_import_from_a_former_place_go_on_working(former, now):
    old, new = importlib.import_module(former), importlib.import_module(now)
    assert old.__all__
    assert all(getattr(old, name) is getattr(new, name) for name in old.__all__)


def run_outside(code: str, folder, environment: dict[str, str] | None = None) -> str:
    """Run code in a folder outside the checkout; returns what it prints."""
    import os

    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=folder, env=kept | (environment or {}), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_the_link_makes_lavis_ours_from_any_folder(repo_root, tmp_path):
    from lavis._link import FILE, link_line

    site = tmp_path / "site-packages"
    site.mkdir()
    (site / FILE).write_text(link_line(repo_root), encoding="utf-8")
    linked = f"import site; site.addsitedir({str(site)!r}); "
    code = linked + "import lavis; from lavis.models import model_zoo; print(lavis.__file__)"
    assert run_outside(code, tmp_path) == str(repo_root / "lavis" / "__init__.py")
    # PYTHONPATH still comes first: another checkout can be tried with this environment.
    other = tmp_path / "other" / "lavis"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("", encoding="utf-8")
    code = linked + "import lavis; print(lavis.__file__)"
    found = run_outside(code, tmp_path, {"PYTHONPATH": str(other.parent)})
    assert found == str(other / "__init__.py")
