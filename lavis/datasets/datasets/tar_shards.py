"""Former place of `lavis/datasets/stores/tar_shards.py`, kept for scripts that import from it."""

from lavis.datasets.stores.tar_shards import (
    TarShardStore,
    index_shard,
    prepare_shards,
    write_shards,
)

__all__ = ["TarShardStore", "index_shard", "prepare_shards", "write_shards"]
