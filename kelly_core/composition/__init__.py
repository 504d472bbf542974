"""Music from what the chain says: parts of a score, the MIDI file that holds them, and a picture of it all."""
