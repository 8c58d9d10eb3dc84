"""Python's search for unreachable objects, which must not look through all of PyTorch again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def present_objects_left_alone() -> Iterator[None]:
    """Leave what there is out of searches for garbage: of a step that takes some ms, they were a twentieth."""
    if gc.get_freeze_count():  # by the program that calls, which also decides when that ends
        yield
        return
    gc.collect()  # what is garbage now would stay
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
