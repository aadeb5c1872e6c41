"""Ask trained systems about your own 3D files.

    import pointlang

    system = pointlang.load("demo")                  # output/demo, a run folder, a hub folder
    system.caption(["chair.ply", "lamp.glb"])        # -> two captions
    system.ask("chair.ply", "What is this?")
    system.classify("chair.ply", ["chair", "lamp"])
    system.retrieve("a red chair", ["a.ply", "b.ply"])

The command is `python -m pointlang predict`; docs/predict.md describes both.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pointlang.objects import Object, read_object, read_objects
    from pointlang.runs import load, systems
    from pointlang.system import Gallery, Segmentation, System

__all__ = [
    "Gallery",
    "Object",
    "Segmentation",
    "System",
    "load",
    "read_object",
    "read_objects",
    "systems",
]
# Read at first use: `--help` and a mistyped command do not wait for torch.
_MODULES = {
    **dict.fromkeys(("Object", "read_object", "read_objects"), "pointlang.objects"),
    **dict.fromkeys(("load", "systems"), "pointlang.runs"),
    **dict.fromkeys(("Gallery", "Segmentation", "System"), "pointlang.system"),
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'pointlang' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
