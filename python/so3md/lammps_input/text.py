"""Words that come from users, such as names of files, as parts of files that LAMMPS reads.

LAMMPS knows both kinds of quotes but no escapes, continues lines that end in &, reads on until triple quotes are closed
(also in comments), and drops parts of characters beyond ASCII.
"""

from __future__ import annotations

import unicodedata

#: LAMMPS reads the first line of a data file into 256 bytes, and what is longer as the next line.
LONGEST_TITLE = 200

#: Characters that mean nothing to LAMMPS, besides letters and digits.
_PLAIN = frozenset("_-./:=+,@%")


def word(text: str) -> str:
    """A word of a command, in quotes if it needs any. Raises ValueError for what LAMMPS cannot read."""
    check_name(text)
    if not text.isascii():
        raise ValueError(
            f"{text}: LAMMPS reads ASCII characters only in names of files; rename it, or give a link to it"
        )
    if text and all(character in _PLAIN or character.isalnum() for character in text):
        return text
    for quote in '"', "'":
        if quote not in text and '"""' not in text:
            return f"{quote}{text}{quote}"
    raise ValueError(f"{text}: LAMMPS cannot read a name with both kinds of quotes, or three in a row; rename it")


def check_name(text: str) -> None:
    """Raise ValueError for a name that would not stay on one line."""
    if any(_is_control(character) for character in text):
        raise ValueError(f"{text!r}: LAMMPS cannot read names with line breaks or control characters; rename it")


def comment(text: str) -> str:
    """One line of comment, which LAMMPS passes over whatever it says."""
    line = f"# {_one_line(text)}".rstrip().replace('"""', '" " "')
    return f"{line} ." if line.endswith("&") else line


def title(text: str) -> str:
    """The first line of a data file, shortened if it is long."""
    line = _one_line(text)
    if len(line.encode()) <= LONGEST_TITLE:
        return line
    return line.encode()[: LONGEST_TITLE - 3].decode(errors="ignore") + "..."


def _one_line(text: str) -> str:
    return "".join(repr(character)[1:-1] if _is_control(character) else character for character in text)


def _is_control(character: str) -> bool:
    """Control characters, line and paragraph separators, and halves of characters that are not text."""
    return unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs")
