"""Proof that an export is what the plugin needs: named checks and their report."""
