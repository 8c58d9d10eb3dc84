"""Division of atoms among processes: equal, compact, the same for everyone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from so3md import _engine

CUBE = np.eye(3) * 20.0
NO_CELL = np.zeros((3, 3))
PERIODIC, OPEN = (True, True, True), (False, False, False)


def uniform(n: int, cell: np.ndarray, seed: int = 0) -> np.ndarray:
    """Positions all over a cell."""
    return np.random.default_rng(seed).uniform(0.0, 1.0, (n, 3)) @ cell


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 300),
    processes=st.integers(1, 40),
    seed=st.integers(0, 1000),
    pbc=st.sampled_from([PERIODIC, OPEN]),
)
def test_all_processes_get_the_same_number_of_atoms_to_one(n: int, processes: int, seed: int, pbc):
    owner = _engine.partition(uniform(n, CUBE, seed), CUBE if pbc == PERIODIC else NO_CELL, pbc, processes)
    counts = np.bincount(owner, minlength=processes)
    assert len(counts) == processes
    assert counts.sum() == n
    assert counts.max() - counts.min() <= 1


def test_eight_processes_get_the_octants_of_a_cube():
    positions = uniform(4000, CUBE)
    owner = _engine.partition(positions, CUBE, PERIODIC, 8)
    for process in range(8):
        extent = np.ptp(positions[owner == process], axis=0)
        assert np.all(extent < 0.56 * 20.0)


def test_a_rod_is_cut_across():
    rod = np.diag([6.0, 6.0, 60.0])
    positions = uniform(500, rod)
    owner = _engine.partition(positions, rod, PERIODIC, 5)
    along = np.argsort(positions[:, 2])
    assert np.count_nonzero(np.diff(owner[along])) == 4


def test_parts_of_a_skewed_cell_lie_between_planes_parallel_to_its_faces():
    cell = np.array([[30.0, 0.0, 0.0], [9.0, 10.0, 0.0], [-4.0, 3.0, 8.0]])
    fractions = np.random.default_rng(1).uniform(0.0, 1.0, (300, 3))
    owner = _engine.partition(fractions @ cell, cell, PERIODIC, 2)
    first, second = (fractions[owner == process, 0] for process in range(2))
    assert first.max() < second.min()


def test_images_of_atoms_belong_to_the_same_process():
    positions = uniform(200, CUBE)
    rng = np.random.default_rng(2)
    elsewhere = positions + rng.integers(-3, 4, (200, 3)) @ CUBE
    np.testing.assert_array_equal(
        _engine.partition(positions, CUBE, PERIODIC, 6), _engine.partition(elsewhere, CUBE, PERIODIC, 6)
    )


def test_atoms_at_the_same_place_are_divided_by_number():
    owner = _engine.partition(np.zeros((7, 3)), NO_CELL, OPEN, 3)
    np.testing.assert_array_equal(owner, np.sort(owner))


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match="number of processes is 0: expected 1 or more"):
        _engine.partition(np.zeros((7, 3)), NO_CELL, OPEN, 0)
    with pytest.raises(ValueError, match=r"positions has the shape \(7, 2\): expected \(n, 3\)"):
        _engine.partition(np.zeros((7, 2)), NO_CELL, OPEN, 2)
