"""Engines that compute an exported network frame by frame."""
