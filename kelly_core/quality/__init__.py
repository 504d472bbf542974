"""How good a network is: its measures, what it must beat, and whether it does."""
