"""List the trained systems: python -m pointlang systems"""

from __future__ import annotations

from collections.abc import Sequence

from pointlang.runs import NO_MODEL, systems


def main(arguments: Sequence[str] | None = None) -> int:
    """Print each system below output/ with its abilities."""
    found = systems()
    for name, abilities in found.items():
        print(f"{name:<24} {' '.join(abilities)}")
    if not found:
        print(f"No trained system below output/. {NO_MODEL}.")
    return 0
