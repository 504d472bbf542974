"""Terminal screens on top of ``kelly_core``; they watch runs and send requests, and contain no training code."""
