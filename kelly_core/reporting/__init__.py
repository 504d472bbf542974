"""One report on a folder of exports: gathered once, laid out once, rendered as a page and as Markdown."""
