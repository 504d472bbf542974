"""Small rule-generated corpora in the layouts of the real ones."""

DEFAULT_SONGS = 240
"""Number of songs; all five models are evaluated on about 40 that were not used to train or to choose the epoch."""
