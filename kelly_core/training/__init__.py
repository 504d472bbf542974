"""Training: networks, the one loop, checkpoints, history, plots, and the way to an export."""
