"""Sources of examples: real corpora, their features and splits, and generated replacements."""

from kelly_core.data.catalog import create_dataset

__all__ = ["create_dataset"]
