"""Files on disk: atomic writes, locks, JSON lines."""
