"""Packages that only some features need: where one is not there, the error says which feature, and what installs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needed(feature: str, package: str, install: str) -> Iterator[None]:
    """Around imports: raise ImportError with what to do (install: the rest of `pip install`) where they fail."""
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"{feature} needs {package}, which is not installed here ({error}): pip install {install}"
        ) from error
