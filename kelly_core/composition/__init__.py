"""Music from the chain's outputs: parts of a score, its MIDI file and a plot."""
