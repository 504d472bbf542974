"""Sources of examples: real corpora with their features and splits, and generated replacements."""

from kelly_core.data.catalog import create_dataset

__all__ = ["create_dataset"]
