"""Runs: trainings in separate processes, and the code that observes and controls them."""
