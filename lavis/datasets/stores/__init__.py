"""Where point clouds are kept: packed arrays, files of each object, tar shards."""
