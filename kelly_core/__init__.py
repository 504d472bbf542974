"""Kelly's headless core: data, training, export and validation of the plugin's five networks."""

__version__ = "0.1.0"
