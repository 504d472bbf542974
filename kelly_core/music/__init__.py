"""Model inputs and outputs as numbers (emotion codes, mel frames, chords, …), in pure NumPy without files."""
