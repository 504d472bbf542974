"""Small rule-generated corpora in the layouts of the real ones."""

DEFAULT_SONGS = 240
"""Enough to judge all five models on about 40 songs that were used neither for training nor to choose the epoch."""
