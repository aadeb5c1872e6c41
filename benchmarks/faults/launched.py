"""One rank below the real launcher: `python -m benchmarks.faults.launched CALL JSON-ARGUMENTS`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.faults.processes import in_group
from benchmarks.faults.signals import endless, restarted
from benchmarks.faults.two_machines import shared_run
from lavis.common import rng_state
from lavis.common.dist_utils import get_rank

CALLS = {"endless": endless, "restarted": restarted, "shared_run": shared_run}


def main() -> None:
    """Run the call in the process group that the launcher describes."""
    call, arguments = sys.argv[1], json.loads(sys.argv[2])
    folder, *others = arguments

    def seeded_call() -> None:
        rng_state.reseed(42, 0, get_rank())  # a new process starts from the clock; train.py seeds
        CALLS[call](Path(folder), *others)

    in_group(seeded_call)


if __name__ == "__main__":
    main()
