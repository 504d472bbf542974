"""One function mapped over many items, in local processes or on a Dask cluster."""
