"""Inference latency per frame, for each model and the whole chain, in every available engine."""

BUDGET_MS = 10.0
"""Limit for the chain, of the 500 ms of a frame."""
