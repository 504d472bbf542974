"""Metrics and baselines of each of the five models."""
