"""Latency: how long one frame takes, model by model and through the whole chain, in one engine or another."""
