"""Getting corpora: registry of sources, transfer, unpacking, inventory."""
