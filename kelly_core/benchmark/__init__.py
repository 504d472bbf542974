"""Latency: how long one frame takes, model by model and through the whole chain, in one engine or another."""

BUDGET_MS = 10.0
"""What the chain may take of a frame of half a second."""
