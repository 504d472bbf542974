"""The export file: weights as arrays, writing, reading, and running them in NumPy."""
