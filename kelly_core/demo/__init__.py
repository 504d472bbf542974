"""A small corpus, generated from rules, in the layouts of the real corpora."""
