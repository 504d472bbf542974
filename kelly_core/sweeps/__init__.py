"""Sweeps: many trainings with different settings and seeds."""
