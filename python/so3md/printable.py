"""Text of others on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with control characters, and bytes of file names that are no text, written out as \\x1b and such."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
