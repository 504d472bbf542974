"""The terminal screens over ``kelly_core``: they watch and ask, and know nothing of how training works."""
