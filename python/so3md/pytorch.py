"""PyTorch, imported with threads that sleep while they wait, and with what to do where it is missing.

The packages that use it import it from here first.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: The threads of OpenMP's libraries (GNU's, and that of LLVM and Intel) wait by spinning. Where other programs use the
#: cores, these wait for threads that wait: a training step on two threads took 15 times as long as on one.
_SLEEPING = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
#: Variables by which a user has decided otherwise.
_DECIDED = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


@contextmanager
def _sleeping_threads() -> Iterator[None]:
    """The environment in which to load PyTorch; OpenMP's library reads it then, and never again."""
    own = {} if "torch" in sys.modules or any(name in os.environ for name in _DECIDED) else _SLEEPING
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)


try:
    with _sleeping_threads():
        import torch
except ImportError as error:
    raise ImportError(
        "training and the reference model need PyTorch: pip install '.[torch]' in the folder of so3md (for the small "
        "build without CUDA, first: pip install torch --index-url https://download.pytorch.org/whl/cpu)"
    ) from error

__all__ = ["torch"]
