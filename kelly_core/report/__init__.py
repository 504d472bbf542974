"""The report on a folder of exports as HTML, Markdown and JSON."""
