"""Check that text in the repository uses plain technical English.

Usage: ``python tools/check_words.py [PATH ...]``. Without a path, every tracked text file is checked. The exit status
is 1 if a phrase of the word list occurs, also in a name, with ``_`` between the words. codespell checks the spelling;
this list contains phrases, which codespell cannot match. A line that must contain a listed phrase ends in
``words: ignore``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SUFFIXES = frozenset({".py", ".md", ".toml", ".tcss", ".jinja", ".yaml", ".yml"})

PHRASES = {
    r"anew": "again, or re-…",
    r"(told|tells?|telling) of": "report, warn about",
    r"shall": "must, will",
    r"hence": "so, therefore",
    r"lest": "so that … not",
    r"so many": "the number: 'at most N'",
    r"(?<!there[\s_])is no (?!longer|more|less|better|worse|later|other)\w+": "is not a …",
    r"(?<!there[\s_])are no (?!longer|more|less|better|worse|later|other)\w+": "are not …",
    r"in hand": "current, available",
    r"foretells?": "estimate",
    r"mend(s|ed|ing)?": "fix, repair",
    r"heed(s|ed|ing)?": "respect, use",
    r"who(so)?ever": "name the person or process",
    r"where not": "if it is not at …",
    r"all else": "everything else",
    r"at work": "running, active",
    r"by itself": "automatically",
    r"search for garbage": "garbage collection",
    r"lies": "is located, is",
    r"says nothing": "has no effect, is silent about",
    r"gives? back": "return, release",
    r"puts? out": "replace, evict",
    r"of no use": "unusable",
    r"held against": "compared with",
    r"beyond belief": "implausible",
    r"in one go": "at once",
    r"once more": "again",
    r"at the least": "at least",
    r"upon": "on",
    r"(obeys?|hears?|speaks?)": "handle, receive, report",
    r"(tells|foretold)": "show, report; estimated",
    r"(goes|gone) on": "continue",
    r"says? so": "state it, report it",
    r"all the same": "nevertheless, anyway",
    r"rid of": "delete",
    r"thus": "so, therefore",
    r"save for": "except",
    r"makes? no sense": "is invalid, has no effect",
    r"(ran|runs?) away": "diverge",
    r"in the place of": "in place of, instead of",
    r"for good": "permanently, from then on",
    r"the very": "the same, the",
    r"put down to": "attribute to",
    r"ever met": "was trained on, has seen",
    r"bears? (it )?out": "agree with, confirm",
    r"as far as it (is|goes)": "if, where",
    r"(whilst|amongst|hitherto|henceforth|whereupon|thereof|therein|thereby|wherein|albeit|forthwith)": "a common word",
    r"reckon(s|ed)?": "compute, estimate",
    r"for want of": "without, for lack of",
    r"cannot stand t?here": "is not allowed there",
    r"spoken?": "sent, reported",
    r"but for": "except",
    r"looked into": "read",
    r"last words": "last output",
    r"of (its|their) own[.,:;)]": "its own …, a separate …",
    r"too good to be true": "implausible",
    r"recognisers?|labelled": "the US spelling",
    r"(former|other) sel(f|ves)": "earlier or other version",
    r"cost(s|ing)? nothing": "zero, without cost",
    r"pil(e|es|ed) up": "accumulate, grow",
    r"makes? up for": "compensate",
    r'(?<=""")(what|whatever|whoever|whether|of)': "the subject first (a predicate: True if …)",
    r"(?<=[.!]\s)(what|whatever|whoever|whether|of)": "the subject first",
}
"""Listed phrase (regular expression) and its replacement."""

IGNORE = "words: ignore"

_GAP = r"[\s#_]+"
"""Gap between two words: spaces, a line break, which in a comment is followed by "#", or _ in a name."""

_PATTERNS = [
    (re.compile(rf"(?<![^\W_]){phrase.replace(' ', _GAP)}(?![^\W_])", re.IGNORECASE), advice)
    for phrase, advice in PHRASES.items()
]


def tracked_files(paths: list[str]) -> list[Path]:
    """Return the text files that git tracks below ``paths`` (all if empty), except this script."""
    listed = subprocess.run(["git", "ls-files", "-z", *paths], capture_output=True, text=True, check=True).stdout
    files = [Path(name) for name in listed.split("\0") if name]
    return [path for path in files if path.suffix in SUFFIXES and path.name != Path(__file__).name]


def findings(path: Path) -> Iterator[str]:
    """Yield ``file:line: 'phrase': advice`` for each listed phrase in one file."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for pattern, advice in _PATTERNS:
        for match in pattern.finditer(text):
            number = text.count("\n", 0, match.start())
            if not lines[number].rstrip().endswith(IGNORE):
                yield f"{path}:{number + 1}: {' '.join(match[0].split())!r}: write {advice}"


def main() -> int:
    """Print every finding and return the exit status."""
    paths = tracked_files(sys.argv[1:])
    found = [finding for path in paths for finding in findings(path)]
    print("\n".join([*found, f"{len(found)} listed phrases in {len(paths)} files"]))
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
