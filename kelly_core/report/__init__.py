"""Report on a folder of exports, as HTML, Markdown, terminal text and JSON."""
