"""Where data sets come from, one file a source: records, a store of clouds, field loaders."""
