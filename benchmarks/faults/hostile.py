"""Figure 11: files that want to run code, leave their folder or fill the memory."""

from __future__ import annotations

import builtins
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.faults.processes import Figure
from lavis.common.checkpoint import load_checkpoint_file
from lavis.common.errors import PointLanguageError
from lavis.config.sources import load_yaml
from lavis.datasets.stores.point_stores import FilePointStore
from lavis.datasets.stores.tar_shards import TarShardStore, write_shards


class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


def read(path: Path) -> Any:
    """Read a file as the code base would."""
    if path.suffix in (".pth", ".safetensors"):
        return load_checkpoint_file(path)
    if path.suffix in (".npy", ".npz"):
        store = FilePointStore(path.parent, "{object_id}" + path.suffix)
        return store.load(path.stem)
    if path.suffix == ".tar":
        store_of_tar = TarShardStore([path])
        return [store_of_tar.load(object_id) for object_id in store_of_tar.members]
    return load_yaml(path, "--cfg-path")


def _npy_header(header: str) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _tar(
    path: Path, name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0
) -> None:
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, link, 0
        if kind == tarfile.REGTYPE and not size:
            content = io.BytesIO()
            np.save(content, np.zeros((4, 3), np.float32))
            info.size = content.tell()
            content.seek(0)
            archive.addfile(info, content)
        else:
            archive.addfile(info)
    if size:  # a header that claims more than there is
        claimed = tarfile.TarInfo(name)
        claimed.size = size
        path.write_bytes(claimed.tobuf(tarfile.GNU_FORMAT) + bytes(1024))


def _checkpoints(folder: Path, run: Path) -> None:
    torch.save({"model": Call(os.mkdir, str(run))}, folder / "mkdir.pth")
    torch.save(Call(builtins.eval, f"__import__('os').mkdir({str(run)!r})"), folder / "eval.pth")
    torch.save(torch.nn.Linear(2, 2), folder / "module.pth")
    (folder / "pickle.pth").write_bytes(pickle.dumps(Call(os.mkdir, str(run))))
    huge = struct.pack("<Q", 2**60) + b"{}"
    (folder / "header.safetensors").write_bytes(huge)
    outside = {"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
    text = json.dumps(outside).encode()
    (folder / "offsets.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)


def _arrays(folder: Path, run: Path) -> None:
    code = np.array([Call(os.mkdir, str(run))], dtype=object)
    np.save(folder / "pickled.npy", code, allow_pickle=True)
    np.savez(folder / "pickled_npz.npz", arr_0=code)
    expression = f"__import__('os').mkdir({str(run)!r})"
    (folder / "expression.npy").write_bytes(_npy_header(expression))
    shape = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3), }"
    (folder / "huge.npy").write_bytes(_npy_header(shape))
    with zipfile.ZipFile(folder / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        header = "{'descr': '<f4', 'fortran_order': False, 'shape': (180000000, 3), }"
        with archive.open("arr_0.npy", "w", force_zip64=True) as member:
            member.write(_npy_header(header))
            for _ in range(2160):
                member.write(bytes(10**6))


def _texts(folder: Path, run: Path) -> None:
    (folder / "apply.yaml").write_text(f"run: !!python/object/apply:os.mkdir ['{run}']\n")
    (folder / "name.yaml").write_text("run: {task: !!python/name:os.system }\n")
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 9)]
    (folder / "laughs.yaml").write_text("\n".join(["l0: &l0 [a]", *levels]) + "\n")


def _shards(folder: Path) -> None:
    _tar(folder / "parent.tar", "../../escaped.npy")
    _tar(folder / "absolute.tar", "/tmp/escaped.npy")
    _tar(folder / "symlink.tar", "a.npy", tarfile.SYMTYPE, "/etc/passwd")
    _tar(folder / "hardlink.tar", "a.npy", tarfile.LNKTYPE, "/etc/passwd")
    _tar(folder / "device.tar", "a.npy", tarfile.CHRTYPE)
    _tar(folder / "claims.tar", "a.npy", size=2**33 - 1)


def _good(folder: Path) -> None:
    torch.save({"model": {"w": torch.ones(2)}}, folder / "good.pth")
    save_file({"w": torch.ones(2)}, folder / "good.safetensors")
    np.save(folder / "good.npy", np.eye(4, 3, dtype=np.float32))
    np.savez_compressed(
        folder / "good_npz.npz", arr_0=np.tile(np.eye(2, 6, dtype=np.float32), (5000, 1))
    )
    (folder / "good.yaml").write_text("a: &x {b: 1}\nc: *x\nd: *x\n")
    write_shards([("one", np.eye(4, 3))], folder / "t", 2)[0].rename(folder / "good.tar")


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def fig11(folder: Path, quick: bool) -> Figure:
    """A corpus of twenty hostile files and six good ones."""
    hostile, good, run = folder / "hostile", folder / "good", folder / "executed"
    hostile.mkdir()
    good.mkdir()
    _checkpoints(hostile, run)
    _arrays(hostile, run)
    _texts(hostile, run)
    _shards(hostile)
    _good(good)
    refused, accepted, unclear = 0, [], []
    before = _resident()
    for path in sorted(hostile.iterdir()):
        try:
            read(path)
            accepted.append(path.name)
        except PointLanguageError as error:
            refused += 1
            if path.name not in str(error) or "got:" not in str(error):
                unclear.append(path.name)
    grown = (_resident() - before) / 2**20
    false_refusals = []
    for path in sorted(p for p in good.iterdir() if p.is_file()):
        try:
            read(path)
        except PointLanguageError as error:
            false_refusals.append(f"{path.name}: {error}")
    measured = {
        "hostile": refused + len(accepted),
        "refused": refused,
        "accepted": accepted,
        "unclear": unclear,
        "executed": int(run.exists()),
        "false_refusals": false_refusals,
        "memory_growth_mib": round(grown),
    }
    clean = not (accepted or unclear or run.exists() or false_refusals)
    return Figure(clean and refused >= 20 and grown < 200, measured)
