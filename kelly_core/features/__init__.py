"""Features of a corpus: extraction and the cache on disk."""
