"""Small corpora, made by rules, in the layouts of the real ones."""

DEFAULT_SONGS = 240
"""Enough to judge all five models on about 40 songs that neither trained them nor chose the epoch."""
