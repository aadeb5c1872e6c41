"""Stores of point clouds: packed arrays, one file per object, tar shards."""
