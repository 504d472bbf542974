"""Download of corpora: registry of sources, transfer, unpacking, inventory."""
