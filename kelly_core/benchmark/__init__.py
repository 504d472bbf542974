"""Inference latency per frame, for each model and the whole chain, in every available engine."""

BUDGET_MS = 10.0
"""What the chain may take of a frame of half a second."""
