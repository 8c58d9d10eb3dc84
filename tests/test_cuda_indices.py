"""Numbers that only systems of millions of atoms have, in kernels by themselves: entries of lists beyond 32 bits."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from test_cuda_errors import needs_emulation

from so3md import _engine

pytestmark = needs_emulation

#: Entries of the long lists of a million atoms with 800 neighbours each, and of five times as many.
MILLION_ATOMS = 1_000_000 * 800
BEYOND_32_BITS = 5 * MILLION_ATOMS


@pytest.fixture(scope="module")
def emulation() -> ctypes.CDLL:
    return ctypes.CDLL(str(Path(_engine.__file__).parent / "so3md_cuda_emulation.so"))


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


@pytest.mark.parametrize("n", [0, 1, 2048, 2049, 300_000])
def test_running_sums(emulation: ctypes.CDLL, n: int) -> None:
    """One block and several, and sums of more than 32 bits."""
    counts = np.random.default_rng(1).integers(0, 40_000, n).astype(np.int32)
    found = np.full(n + 1, -1, dtype=np.int64)
    emulation.so3md_emulation_scan(pointer(counts), ctypes.c_int(n), pointer(found))
    np.testing.assert_array_equal(found, np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]))
    if n == 300_000:
        assert found[-1] > BEYOND_32_BITS > 2**31


def test_long_lists_that_begin_beyond_32_bits(emulation: ctypes.CDLL) -> None:
    n, neighbours = 70, 45
    positions = np.random.default_rng(2).uniform(0, 20, (n, 3))
    results = []
    for first in (0, MILLION_ATOMS, BEYOND_32_BITS):
        potentials = np.full(n, np.nan)
        emulation.so3md_emulation_potentials(
            ctypes.c_int(n), ctypes.c_int(neighbours), pointer(positions), ctypes.c_int64(first), pointer(potentials)
        )
        results.append(potentials)
    assert np.all(results[0] > 0)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])
