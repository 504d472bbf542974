"""Write the files generated from the settings' schema: ``config.toml``, its JSON Schema and ``docs/settings.md``.

Usage: ``python tools/make_settings_docs.py [--check]``. With ``--check``, no file is written, and the exit status is 1
if a file is outdated.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from kelly_core.config.reference import SCHEMA_FILE, config_file, json_schema, markdown_table

ROOT = Path(__file__).resolve().parents[1]

CONFIG_HEAD = f"""#:schema {SCHEMA_FILE}
# Every setting of Kelly's training workbench, with its default. Made by tools/make_settings_docs.py.
#
# Precedence: typed option > environment variable > this file > default. The variable of a setting is its path in
# capitals: KELLY_TRAINING_EPOCHS=5, KELLY_DATASETS_DEAM_DURATION=30, KELLY_MODELS_EMOTIONRECOGNIZER_EPOCHS=200.
# A path may begin with ~, the home folder. `kelly-core config` shows the effective settings and where each comes from.
# A setting that is commented out takes its value from [training], the model's specification or the system.

"""

DOCS_HEAD = """# Settings

Made by `tools/make_settings_docs.py` from `kelly_core/config/schema.py`; do not edit.

A typed option wins over an environment variable, which wins over `config.toml`, which wins over the default. The
environment variable of a setting is `KELLY_` and its path in capitals with `_` for dots: `KELLY_TRAINING_EPOCHS`.
`kelly-core config` shows the effective settings and where each comes from; `kelly-core config schema` prints the JSON
Schema that editors use to complete and check `config.toml`. A path may begin with `~`, the home folder.

"""


def documents() -> dict[Path, str]:
    """Return the content of each file that is generated from the schema."""
    return {
        ROOT / "config.toml": CONFIG_HEAD + config_file(),
        ROOT / SCHEMA_FILE: json.dumps(json_schema(), indent=2) + "\n",
        ROOT / "docs" / "settings.md": DOCS_HEAD + markdown_table(),
    }


def main() -> int:
    """Write and list the outdated files; with ``--check``, only list them."""
    outdated = [path for path, text in documents().items() if not path.is_file() or path.read_text() != text]
    for path in outdated:
        if "--check" not in sys.argv:
            path.write_text(documents()[path])
        print(path.relative_to(ROOT))
    return 1 if outdated and "--check" in sys.argv else 0


if __name__ == "__main__":
    raise SystemExit(main())
