"""Kinds and ranges of numbers that are read from files, for pydantic to check where they enter."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, WrapValidator

MAX_COUNT = 2**53
"""Every count up to this one is exact as a float."""

Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
"""Epochs, steps, bytes, files."""

Pid = Annotated[int, Field(ge=0, lt=2**31)]

Real = Annotated[float, WrapValidator(lambda value, validate: math.nan if value is None else validate(value))]
"""A number that may not be finite: ``null`` in JSON, read back as NaN; see ``io.json``."""

Finite = Annotated[float, Field(allow_inf_nan=False)]

Seconds = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
"""A duration, up to 30,000 years."""

UnixTime = Annotated[float, Field(ge=0, le=2.5e11, allow_inf_nan=False)]
"""Seconds since 1970, up to the year 9892: later ones are no dates for Python."""

Rate = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
"""Anything per second."""

Percent = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
"""Share of one core in percent: more than 100 for several."""

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A part of a whole."""

Micros = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
"""A latency in microseconds."""

Loss = Annotated[float, Field(ge=-1e30, le=1e30, allow_inf_nan=False)]
"""A loss of a complete epoch: a training whose loss is not finite goes back before it is kept."""
