"""Weights: built in by package, and published checkpoints."""
