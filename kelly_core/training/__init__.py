"""Training: networks, the one loop, checkpoints, history, plots, and the way to an export."""

import os

# Threads that wait for work must sleep, not spin: with another busy process on the same cores, spinning made steps of
# the LSTM models up to ten times slower. OpenMP reads this once, when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
