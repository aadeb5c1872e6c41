"""The faults of `benchmarks/reliability.py`: a function per figure, `figNN(quick) -> Figure`."""
