"""Field loaders: `load(record, rng) -> fields` of a sample. A new modality is one file here."""
