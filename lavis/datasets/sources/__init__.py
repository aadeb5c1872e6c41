"""Sources of data sets, one file each: records, a store of clouds, field loaders."""
