"""What the numbers mean that go into and come out of the five models: pure NumPy, no files."""
