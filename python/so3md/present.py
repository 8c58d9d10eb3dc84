"""Values that are optional in general, where the case at hand has them."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def present(value: T | None) -> T:
    """The value, which is there: None is a mistake of the caller's."""
    assert value is not None, "a value is missing that this case has"
    return value
