"""Loaders of the real corpora."""
