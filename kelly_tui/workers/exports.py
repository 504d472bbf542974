"""Read exports for the Validate screen: ``python -m kelly_tui.workers.exports FILE…`` prints one line per file.

Some exports contain 16 MB of JSON; parsing them in the screens' process would block it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from kelly_core.engines.layers import describe_layer
from kelly_core.errors import ExportError
from kelly_core.export.reader import read_export
from kelly_core.io.json import dumps


def main(files: list[str]) -> None:
    """Print each file's metadata, or the error."""
    for file in files:
        sys.stdout.write(dumps({"file": file} | _content_of(Path(file))) + "\n")
        sys.stdout.flush()


def _content_of(path: Path) -> dict[str, Any]:
    try:
        export = read_export(path)
    except ExportError as error:
        return {"error": error.problem}
    return {
        "layout": export.layout,
        "layers": list(map(describe_layer, export.layers)),
        "input_size": export.in_size,
        "output_size": export.layers[-1].out_size,
        "parameters": export.parameter_count,
        "metadata": {key: value for key, value in export.metadata.items() if key != "golden"},
    }


if __name__ == "__main__":
    main(sys.argv[1:])
