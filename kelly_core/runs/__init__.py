"""Runs: trainings in processes of their own, and what watches and controls them."""
