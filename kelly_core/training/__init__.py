"""Training: networks, the one loop, checkpoints, history, plots, and the way to an export."""

import os

# Threads that wait for work must soon sleep: beside another busy process, spinning for as long as OpenMP likes made
# steps of the LSTM models up to ten times slower; not spinning at all costs a third on idle cores. OpenMP reads this
# when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
