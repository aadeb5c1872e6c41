"""ULIP-style pre-training of a point encoder against a frozen text tower."""
