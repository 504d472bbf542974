"""Inference latency per frame, for each model and for the chain, in every available engine."""

BUDGET_MS = 10.0
"""Latency limit of the chain; a frame lasts 500 ms."""
