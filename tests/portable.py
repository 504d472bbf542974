"""Run the numeric part of the tests as other processors would compute it, and with other random draws.

Usage: ``python -m tests.portable [--quick]``. Each variant is a separate pytest process, because PyTorch, oneDNN,
OpenBLAS and NumPy choose their instruction sets when they are loaded. ``--quick`` runs one variant, the most different
from what this processor does by default, without the slow tests, so that it fits into CI. The exit status is 1 if any
variant fails.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping

import numpy as np

from tests.seeds import OFFSET_VARIABLE

NUMERIC = (
    "tests/composition",
    "tests/data",
    "tests/demo",
    "tests/engines",
    "tests/evaluation",
    "tests/export",
    "tests/features",
    "tests/music",
    "tests/training",
    "tests/validation",
    "tests/test_chain.py",
    "tests/test_portability.py",
)
"""Tests whose assertions depend on floating-point results."""

QUICK = "oldest processor, seeds shifted by 2"


def _numpy_features() -> str:
    """Return the optional CPU features that this NumPy build has kernels for and that this processor supports."""
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    return " ".join(found)


def _oldest_numpy() -> Mapping[str, str]:
    features = _numpy_features()
    # An empty list would be a warning, which the tests treat as an error.
    return {"NPY_DISABLE_CPU_FEATURES": features} if features else {}


def _oldest_blas() -> Mapping[str, str]:
    """Return the variables that make OpenBLAS (of NumPy) and MKL (of PyTorch) use their smallest kernels."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return {"OPENBLAS_CORETYPE": "ARMV8"}
    return {"OPENBLAS_CORETYPE": "Nehalem", "MKL_CBWR": "COMPATIBLE"}


OTHER_PROCESSOR: Mapping[str, str] = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    **_oldest_blas(),
    **_oldest_numpy(),
}
"""Variables under which all libraries compute as on a processor without AVX."""


def variants() -> dict[str, Mapping[str, str]]:
    """Return the environment variables of each variant by its name."""
    return {
        QUICK: OTHER_PROCESSOR | {OFFSET_VARIABLE: "2"},
        "PyTorch without vector instructions": {"ATEN_CPU_CAPABILITY": "default"},
        "PyTorch limited to AVX2": {"ATEN_CPU_CAPABILITY": "avx2"},
        "oneDNN limited to SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
        "oneDNN limited to AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
        "NumPy without optional instructions": _oldest_numpy(),
        "OpenBLAS and MKL with their smallest kernels": _oldest_blas(),
        "one thread": {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        "two threads": {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"},
        **{f"seeds shifted by {offset}": {OFFSET_VARIABLE: str(offset)} for offset in (1, 2, 3)},
    }


def run_variant(environment: Mapping[str, str], *, quick: bool) -> int:
    """Run the numeric tests with some environment variables set; return pytest's exit status."""
    command = [sys.executable, "-m", "pytest", "-n", "2", "-q", "-p", "no:cacheprovider", *NUMERIC]
    if quick:
        command += ["-m", "not slow"]
    return subprocess.run(command, env=os.environ | environment, check=False).returncode


def main() -> int:
    """Run the variants, print each result and return the exit status."""
    quick = "--quick" in sys.argv[1:]
    results: list[str] = []
    failed = 0
    for name, environment in variants().items():
        if quick and name != QUICK:
            continue
        print(f"== {name}: {' '.join(f'{key}={value}' for key, value in environment.items())}", flush=True)
        started = time.monotonic()
        status = run_variant(environment, quick=quick)
        failed += status != 0
        results.append(f"{'ok' if status == 0 else 'FAILED'} {name} ({time.monotonic() - started:.0f} s)")
    print("\n".join(results))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
