"""Validation of an export against the format, the engine's limits and the plugin's specification."""
