"""Programs that screens start for what takes long; each prints its results as lines of JSON."""
