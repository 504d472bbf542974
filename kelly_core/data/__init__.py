"""Where examples come from: real corpora, their features and splits, and synthetic stand-ins."""

from kelly_core.data.catalog import create_dataset

__all__ = ["create_dataset"]
