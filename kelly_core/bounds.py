"""Types and ranges of numbers in files, for validation by pydantic where they are read."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, WrapValidator

MAX_COUNT = 2**53
"""Largest count that is exact as a float."""

Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
"""Epochs, steps, bytes, files."""

Pid = Annotated[int, Field(ge=0, lt=2**31)]

Real = Annotated[float, WrapValidator(lambda value, validate: math.nan if value is None else validate(value))]
"""Number that can be NaN or infinite: ``null`` in JSON, read back as NaN; see ``io.json``."""

Finite = Annotated[float, Field(allow_inf_nan=False)]

Seconds = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
"""Duration in seconds, at most 30,000 years."""

UnixTime = Annotated[float, Field(ge=0, le=2.5e11, allow_inf_nan=False)]
"""Unix time up to the year 9892, within the range of Python's dates."""

Rate = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
"""Rate per second."""

Percent = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
"""Processor use in percent of one core: more than 100 for several cores."""

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""Fraction, 0..1."""

Micros = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
"""Latency in microseconds."""

BoundedLoss = Annotated[float, Field(ge=-1e30, le=1e30, allow_inf_nan=False)]
"""Finite loss of a complete epoch: after a non-finite loss, training rolls back instead of recording the epoch."""
