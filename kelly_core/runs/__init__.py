"""Runs: trainings in their own processes, and what observes and controls them."""
