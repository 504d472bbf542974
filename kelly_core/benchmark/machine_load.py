"""Load of the machine by other programs while something is timed."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil

from kelly_core.bounds import Share

OTHER_LIMIT = 0.1
"""Share of the cores used by other programs above which timings are not comparable: they share caches and clock."""

STOLEN_LIMIT = 0.02
"""Share of the time that a hypervisor gave to other guests above which a timing is not comparable."""


@dataclass(frozen=True)
class MachineLoad:
    """Shares of the processor time of all cores: used by other programs, and stolen by other guests of the host."""

    other: Share
    stolen: Share

    @property
    def busy(self) -> bool:
        """True if timings made under this load should not be compared with others."""
        return self.other > OTHER_LIMIT or self.stolen > STOLEN_LIMIT

    @property
    def description(self) -> str:
        """The load in words, such as "other programs used 52 % of the processor"."""
        stolen = f", other guests of the host {self.stolen:.0%}" if self.stolen > STOLEN_LIMIT else ""
        return f"other programs used {self.other:.0%} of the processor{stolen}".replace("%", " %")


IDLE = MachineLoad(0.0, 0.0)


class LoadMeter:
    """Measures the load that other programs cause, from its creation or the last reading on.

    Processes that this one started count as other programs until they have ended and were waited for.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before = self._times()

    def read(self) -> MachineLoad:
        """Return the load since the last reading; zero if too little time passed for the system's clock ticks."""
        former, self._before = self._before, self._times()
        total, busy, own, stolen = (now - then for now, then in zip(self._before, former, strict=True))
        if total <= 0:
            return IDLE
        return MachineLoad(_share((busy - own) / total), _share(stolen / total))

    def _times(self) -> tuple[float, float, float, float]:
        """Return seconds of all cores: in total, used, used by this process and its ended children, stolen."""
        cores = psutil.cpu_times()._asdict()
        stolen = cores.get("steal", 0.0)
        # On Linux the time of guests is a part of that of users.
        total = sum(seconds for name, seconds in cores.items() if not name.startswith("guest"))
        busy = total - cores["idle"] - cores.get("iowait", 0.0) - stolen
        return total, busy, sum(self._process.cpu_times()[:4]), stolen


def load_of(seconds: float) -> MachineLoad:
    """Return the load that other programs cause while this one waits for ``seconds``."""
    meter = LoadMeter()
    time.sleep(seconds)
    return meter.read()


def _share(value: float) -> float:
    return round(min(1.0, max(0.0, value)), 4)
