"""Programs that screens start for what would take long or needs heavy libraries; each prints a line of JSON a result."""
