"""Pictures and sounds with labels from registries' packages, without clouds."""
