"""Training: networks, the training loop, checkpoints, histories, plots and the export of a checkpoint."""
