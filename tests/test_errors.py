"""The hint at a name that is not known; and running out of memory, reported with the size that was needed."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from kelly_core.errors import as_memory_error, did_you_mean


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("training.epoch", "Did you mean training.epochs? Look."),
        ("Epochs", "Did you mean training.epochs? Look."),
        ("cadance", "Did you mean 2026-11-22-1431-brave-cadence? Look."),
        ("xyz", "Look."),
    ],
)
def test_a_name_that_is_not_known_gets_the_closest_one_as_a_hint(name: str, hint: str) -> None:
    known = ["training.epochs", "training.batch_size", "2026-11-22-1431-brave-cadence"]
    assert did_you_mean(name, known, "Look.") == hint


def test_the_error_of_numpy_names_the_memory_needed() -> None:
    with pytest.raises(MemoryError) as caught:
        np.zeros((2**30, 2**27))
    text = str(as_memory_error(caught.value))
    assert text.startswith("memory ran out: 1073741824.0 GiB more were needed")
    assert "smaller batch size" in text


@pytest.mark.parametrize(
    ("error", "reported"),
    [
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 68719476736 bytes."),
            "64.0 GiB more were needed",
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has"), "20.0 MiB more were needed"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "a library could not be loaded"),
        (SystemError("error return without exception set"), "a library could not be loaded"),
        (OSError(12, "Cannot allocate memory"), "memory ran out"),
        (MemoryError(), "memory ran out"),
    ],
)
def test_other_libraries_words_are_understood(error: BaseException, reported: str) -> None:
    assert reported in str(as_memory_error(error))


@pytest.mark.parametrize(
    "error",
    [RuntimeError("shape mismatch"), ImportError("No module named x"), OSError(2, "No such file"), ValueError()],
)
def test_another_error_is_not_taken_for_it(error: BaseException) -> None:
    assert as_memory_error(error) is None


ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""On a machine of many cores NumPy's threads would take the memory that a program may use."""


def test_a_command_that_used_the_last_byte_ends_with_words() -> None:
    program = """
import resource
from kelly_core.cli import app
def use(**_options):
    resource.setrlimit(resource.RLIMIT_AS, (2**30, resource.RLIM_INFINITY))
    used = []
    for size in (2**20, 2**12, 2**6):
        try:
            while True:
                used.append(bytes(size))
        except MemoryError:
            pass
    raise MemoryError
app.app = use
app.main()
"""
    command = [sys.executable, "-c", program, "--json"]
    done = subprocess.run(command, env=ONE_THREAD, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: memory ran out (this process may use 1.0 GiB)")
    assert done.stdout.startswith('{\n  "error": "memory ran out')


def test_a_command_under_a_limit_ends_with_words() -> None:
    program = """
import resource, numpy
from kelly_core.cli import app
def use(**_options):
    resource.setrlimit(resource.RLIMIT_AS, (2**30, resource.RLIM_INFINITY))
    numpy.zeros(2**28)
app.app = use
app.main()
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=ONE_THREAD, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "memory ran out: 2.0 GiB more were needed (this process may use " in done.stderr
