"""What to say of a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(name: str, known: Iterable[str]) -> str:
    """A sentence that proposes the known name which was probably meant, or lists all."""
    known = list(known)
    found = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
    return f"did you mean {found[0]!r}?" if found else "known are " + ", ".join(known)
