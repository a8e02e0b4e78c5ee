"""Makes registries of other tools' configs; reads no file."""
