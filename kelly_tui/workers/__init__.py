"""Programs that screens run for long tasks; each prints its results as JSON lines."""
