"""Generated examples with a known best loss."""
