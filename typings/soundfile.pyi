"""Types of the part of soundfile that this repository uses; the package has none."""

from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

import numpy as np
from numpy.typing import NDArray

class LibsndfileError(RuntimeError):
    @property
    def error_string(self) -> str: ...

class SoundFile:
    def __init__(self, file: BinaryIO) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...
    @property
    def samplerate(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def frames(self) -> int: ...
    @property
    def extra_info(self) -> str: ...
    def read(
        self, frames: int = -1, dtype: Literal["float32"] = ..., always_2d: Literal[True] = ...
    ) -> NDArray[np.float32]: ...

class _SoundFileInfo:
    duration: float

def info(file: Path) -> _SoundFileInfo: ...
def write(
    file: BinaryIO,
    data: NDArray[np.floating],
    samplerate: int,
    *,
    format: Literal["WAV", "FLAC"],
    subtype: Literal["PCM_16"],
) -> None: ...
