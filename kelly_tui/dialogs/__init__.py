"""Modal dialogs that screens open."""
