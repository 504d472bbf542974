"""Readers of audio and MIDI files."""
