"""Settings: schema, files, environment variables and options."""
