"""Where point clouds are kept: packed arrays with named per-point fields."""
