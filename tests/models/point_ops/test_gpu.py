"""The Triton back end: on CUDA where there is one, else in Triton's interpreter on the CPU.

The development requirements install Triton beside a CPU build of torch; skipped without it.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from lavis.common.errors import ConfigError, DependencyError
from lavis.models.point_ops import (
    backends,
    ball_query,
    farthest_point_sample,
    has_triton,
    knn,
    resolve_backend,
)

needs_triton = pytest.mark.skipif(not has_triton(), reason="Triton is not installed")


@pytest.fixture(scope="module")
def device() -> str:
    """CUDA where there is one; conftest.py switches the interpreter on where there is none."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@needs_triton
@pytest.mark.parametrize("resident_points", [8192, 32])
@pytest.mark.parametrize("num_points", [1, 33, 100])
def test_sampling_equals_the_reference(
    device, tied_clouds, monkeypatch, num_points, resident_points
):
    from lavis.models.point_ops import gpu

    monkeypatch.setattr(gpu, "_RESIDENT_POINTS", resident_points)  # 32: tile by tile
    xyz = tied_clouds(num_points, 2, num_points).to(device)
    lengths = torch.tensor([num_points, (num_points + 1) // 2])
    samples = min(12, (num_points + 1) // 2)
    ours, reference = (
        farthest_point_sample(xyz, samples, backend=name, lengths=lengths)
        for name in ("triton", "torch")
    )
    assert torch.equal(ours, reference)


@needs_triton
@pytest.mark.parametrize("num_points", [1, 33, 100])
def test_searches_equal_the_reference(device, tied_clouds, num_points):
    xyz = tied_clouds(num_points, 2, num_points).to(device)
    query = torch.cat([xyz[:, :3], torch.full((2, 1, 3), 7.0, device=device)], dim=1)
    lengths = torch.tensor([num_points, (num_points + 1) // 2])
    for k in {1, min(5, (num_points + 1) // 2), (num_points + 1) // 2}:
        found = [knn(query, xyz, k, name, lengths=lengths) for name in ("triton", "torch")]
        assert torch.equal(*found)
    for radius, k in ((0.6, 3), (1.1, 40), (9.0, 2)):
        found = [
            ball_query(query, xyz, radius, k, name, lengths=lengths) for name in ("triton", "torch")
        ]
        assert torch.equal(*found)


@needs_triton
@pytest.mark.skipif(not torch.cuda.is_available(), reason="roundings differ on a GPU only")
def test_no_roundings_fuse_on_the_gpu():
    generator = torch.Generator().manual_seed(0)
    xyz = (torch.randn(4, 5000, 3, generator=generator) * 1e-3 + 7.7).cuda()
    for samples in (64, 700):
        reference = farthest_point_sample(xyz.cpu(), samples, backend="numba")
        assert torch.equal(farthest_point_sample(xyz, samples).cpu(), reference)
    assert torch.equal(knn(xyz, xyz, 16).cpu(), knn(xyz.cpu(), xyz.cpu(), 16))


def test_missing_triton_is_named_and_auto_falls_back(monkeypatch):
    monkeypatch.setattr(backends, "has_triton", lambda: False)
    assert resolve_backend("auto", torch.device("cuda")) == "torch"
    with pytest.raises(DependencyError, match="auto"):
        resolve_backend("triton", torch.device("cuda"))


@needs_triton
def test_triton_refuses_cpu_tensors_without_the_interpreter(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ConfigError, match="CUDA tensors"):
        resolve_backend("triton", torch.device("cpu"))


COMPILE = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from lavis.models.point_ops import gpu

sizes = {"num_points": "i32", "num_samples": "i32", "BLOCK": "constexpr"}
pointers = {"axes": "*fp32", "lengths": "*i32", "start": "*i32", "picked": "*i32"}
source = ASTSource(gpu._sample_resident, signature=pointers | sizes, constexprs={(6,): 128})
kernel = compile(source, target=GPUTarget("cuda", 80, 32), options=gpu._launch_options(128))
assert "mul" in kernel.asm["ptx"]
assert "fma" not in kernel.asm["ptx"]
"""


@needs_triton
def test_the_machine_code_has_no_fused_multiply_add(repo_root, tmp_path):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(repo_root), *sys.path])}
    env |= {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    (tmp_path / "compile_kernel.py").write_text(COMPILE)  # Triton reads its source from a file
    command = [sys.executable, str(tmp_path / "compile_kernel.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
