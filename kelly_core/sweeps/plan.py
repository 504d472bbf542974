"""Plan the trials of a sweep: combinations of models, settings and seeds."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kelly_core.config.loading import flatten, for_every_model, parse_value, unknown_setting, with_options
from kelly_core.config.schema import ParallelSettings, Settings, SweepSettings
from kelly_core.errors import ConfigError
from kelly_core.spec import ModelSpec

ORIGIN = "--set"

FIXED_SETTINGS = ("output.", "runs.", "parallel.", "sweep.", "notify.", "tui.", "training.seed", "training.jobs")
"""Prefixes of the dotted keys that a sweep cannot vary."""

_DIGITS = 3
_MAX_DRAWS_PER_POINT = 1000

Point = tuple[tuple[str, Any], ...]
"""Settings that vary between trials: (dotted key, value)."""


@dataclass(frozen=True)
class Trial:
    """One training of one model in a sweep.

    Attributes:
        id: ID of its run and name of its folder, derived from model, seed and settings: equal trials have equal IDs.
        model: name of the model.
        seed: ``training.seed``.
        point: the varied settings.
        settings: all settings, with absolute paths.
    """

    id: str
    model: str
    seed: int
    point: Point
    settings: Settings


@dataclass(frozen=True)
class _SweepAxis:
    """One setting and the values to try, or a range from ``low`` to ``high`` if there are no values."""

    key: str
    values: tuple[Any, ...]
    low: float = 0.0
    high: float = 0.0
    whole: bool = False

    def draw(self, chance: random.Random) -> Any:
        """Draw a random value; in a range of positive numbers, uniform in the logarithm."""
        if self.values:
            return chance.choice(self.values)
        if self.low > 0:
            number = math.exp(chance.uniform(math.log(self.low), math.log(self.high)))
        else:
            number = chance.uniform(self.low, self.high)
        return round(number) if self.whole else float(f"{number:.{_DIGITS}g}")


def plan_trials(settings: Settings, specs: Sequence[ModelSpec]) -> list[Trial]:
    """Return the trials of ``settings.sweep``: all of the first seed, then all of the second, and so on.

    A trial uses one thread unless ``training.threads`` is set, so its result does not depend on the number of parallel
    trials or on the machine.

    Raises:
        ConfigError: a setting is unknown, cannot be varied, or has an invalid value.
    """
    sweep = settings.sweep
    axes = [_parse(text) for text in sweep.set]
    repeated = [axis.key for index, axis in enumerate(axes) if axis.key in {earlier.key for earlier in axes[:index]}]
    if repeated:
        raise ConfigError(f"{repeated[0]} is given twice", where=ORIGIN)
    points = list(_points(axes, sweep, settings.training.seed))
    base = settings.model_copy(update={"parallel": ParallelSettings(), "sweep": SweepSettings()})
    seeds = range(settings.training.seed, settings.training.seed + sweep.seeds)
    trials = {}
    for seed, spec, point in itertools.product(seeds, specs, points):
        trial = _trial(base, spec, seed, _of_model(point, spec))
        # Points that differ only in settings of other models are the same trial of this model.
        trials[trial.id] = trial
    return list(trials.values())


def _parse(text: str) -> _SweepAxis:
    key, equals, values = text.partition("=")
    key = key.strip()
    if not equals or not values.strip():
        raise ConfigError(f"{text!r} is not key=value,value…", where=ORIGIN)
    if key.startswith(FIXED_SETTINGS):
        hint = "--seeds N trains with N seeds" if key == "training.seed" else None
        raise ConfigError(f"{key} cannot be tried", where=ORIGIN, hint=hint)
    defaults = flatten(Settings().model_dump())
    if key not in defaults:
        tried = [name for name in defaults if not name.startswith(FIXED_SETTINGS)]
        raise unknown_setting(key, tried, ORIGIN)
    default = defaults[key]
    if ".." in values and not isinstance(default, str | Path):
        return _range(key, values)
    found = tuple(parse_value(value.strip(), default) for value in values.split(","))
    return _SweepAxis(key, tuple(dict.fromkeys(found)))


def _range(key: str, text: str) -> _SweepAxis:
    low, _, high = text.partition("..")
    numbers = [parse_value(end.strip(), None) for end in (low, high)]
    if not all(isinstance(number, int | float) for number in numbers) or not numbers[0] < numbers[1]:  # type: ignore[operator]
        raise ConfigError(f"{key}={text}: a range must be from a number to a larger one", where=ORIGIN)
    whole = all(isinstance(number, int) for number in numbers)
    return _SweepAxis(key, (), float(numbers[0]), float(numbers[1]), whole)  # type: ignore[arg-type]


def _points(axes: Sequence[_SweepAxis], sweep: SweepSettings, seed: int) -> Iterator[Point]:
    if sweep.random:
        yield from _random_points(axes, sweep.random, seed)
        return
    for axis in axes:
        if not axis.values:
            raise ConfigError(f"{axis.key}: a range needs --random N, the number of points to draw", where=ORIGIN)
    for values in itertools.product(*(axis.values for axis in axes)):
        yield tuple((axis.key, value) for axis, value in zip(axes, values, strict=True))


def _random_points(axes: Sequence[_SweepAxis], count: int, seed: int) -> Iterator[Point]:
    """Yield up to ``count`` different random points.

    A larger count begins with the same points, so trials are not repeated.
    """
    if not axes:
        raise ConfigError("nothing to draw from", where="--random", hint="Give --set key=low..high or key=value,value")
    chance = random.Random(seed)
    seen = set()
    # Axes with few values can have fewer different points than requested.
    for _ in range(_MAX_DRAWS_PER_POINT * count):
        point = tuple((axis.key, axis.draw(chance)) for axis in axes)
        if point not in seen:
            seen.add(point)
            yield point
        if len(seen) == count:
            return


def _of_model(point: Point, spec: ModelSpec) -> Point:
    """Return the part of a point that applies to a model."""
    own = f"models.{spec.name}."
    return tuple((key, value) for key, value in point if key.startswith(own) or not key.startswith("models."))


def _trial(base: Settings, spec: ModelSpec, seed: int, point: Point) -> Trial:
    threads = base.training.threads or 1
    fixed = {"training.seed": seed, "training.jobs": 1, "training.threads": threads}
    chosen = for_every_model({key: (ORIGIN, value) for key, value in point})
    settings = _absolute(with_options(base, {key: (ORIGIN, value) for key, value in fixed.items()} | chosen))
    content = json.dumps([spec.name, settings.model_dump(mode="json")], sort_keys=True)
    name = f"{spec.file_stem}-seed{seed}-{hashlib.blake2b(content.encode(), digest_size=5).hexdigest()}"
    output = settings.output.dir / "trials" / name
    return Trial(name, spec.name, seed, point, with_options(settings, {"output.dir": (ORIGIN, output)}))


def _absolute(settings: Settings) -> Settings:
    """Return the settings with absolute paths, which are valid in any working directory."""
    datasets = settings.datasets
    options: dict[str, tuple[str, object]] = {
        "datasets.dir": ("", datasets.dir.absolute()),
        "datasets.cache_dir": ("", datasets.cache_dir.absolute()),
        "output.dir": ("", settings.output.dir.absolute()),
        "runs.dir": ("", settings.runs.dir.absolute()),
    }
    flat = flatten(datasets.model_dump())
    for key in (key for key in flat if key.endswith(".path") and flat[key]):
        options[f"datasets.{key}"] = ("", str(Path(flat[key]).absolute()))
    return with_options(settings, options)
