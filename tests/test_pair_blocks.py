"""Division of pairs among blocks: each pair is evaluated exactly once, and what is left in rims reaches its atom."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from so3md import _engine

NOT_HERE = -2

SYSTEMS = {
    # number of atoms, edge of the cubic cell (A), periodic directions
    "bulk": (600, 18.0, (True, True, True)),
    "slab": (300, 14.0, (True, True, False)),
    "cluster": (150, 11.0, (False, False, False)),
    "cell thinner than the cutoff": (7, 3.1, (True, True, True)),
    "one atom and its images": (1, 3.0, (True, True, True)),
    "two atoms": (2, 3.0, (False, False, False)),
}


@pytest.fixture(params=SYSTEMS, name="system")
def made_system(request):
    """Lists of a random system: domain and blocks."""
    n, edge, pbc = SYSTEMS[request.param]
    positions = np.random.default_rng(n).uniform(0.0, edge, (n, 3))
    neighbours = _engine.NeighbourList(4.5, 0.0, 0.5)
    neighbours.update(positions, np.eye(3) * edge, pbc)
    return neighbours.domain(), neighbours.pair_blocks()


def entries(domain):
    """(entry, i, slot of j, displacement) of the short list."""
    offsets, sites, positions = domain["short_offsets"], domain["short_sites"], domain["positions"]
    for i in range(len(offsets) - 1):
        for entry in range(offsets[i], offsets[i + 1]):
            site = sites[entry]
            yield entry, i, domain["slot"][site], positions[site] - positions[i]


def test_each_pair_is_evaluated_once(system):
    domain, blocks = system
    evaluated, listed = Counter(), Counter()
    for entry, i, j, displacement in entries(domain):
        # One name for both directions of a pair.
        pair = min((i, j, *np.round(displacement, 6)), (j, i, *np.round(-displacement + 0.0, 6)))
        pair = tuple(float(value) + 0.0 for value in pair)
        listed[pair] += 1
        evaluated[pair] += blocks["rows"][entry] != NOT_HERE
    assert set(listed.values()) <= {2}
    assert set(evaluated.values()) <= {1}


def test_rows_lead_to_the_partner(system):
    domain, blocks = system
    block_of = {i: block for block in blocks["blocks"] for i in range(block[0], block[1])}
    for entry, i, j, _ in entries(domain):
        row = blocks["rows"][entry]
        if row == NOT_HERE:
            continue
        begin, end, rim_begin, rim_end = block_of[i]
        own = end - begin
        found = begin + row if row < own else blocks["rim_slots"][rim_begin + row - own]
        assert found == j
        assert row < own + rim_end - rim_begin


def test_blocks_cover_all_atoms_and_rims_are_gathered_once(system):
    domain, blocks = system
    n = len(domain["short_offsets"]) - 1
    assert sorted(i for begin, end, _, _ in blocks["blocks"] for i in range(begin, end)) == list(range(n))
    assert sorted(blocks["gathered"]) == list(range(len(blocks["rim_slots"])))
    for i in range(n):
        rows = blocks["gathered"][blocks["gathered_first"][i] : blocks["gathered_first"][i + 1]]
        assert all(blocks["rim_slots"][rows] == i)
        assert list(rows) == sorted(rows)


def test_both_sides_of_a_cut_work():
    """Neither of two neighbouring blocks does all of their common pairs, in total over many blocks."""
    n, edge, pbc = SYSTEMS["bulk"]
    neighbours = _engine.NeighbourList(4.5, 0.0, 0.5)
    neighbours.update(np.random.default_rng(1).uniform(0.0, edge, (n, 3)), np.eye(3) * edge, pbc)
    domain, blocks = neighbours.domain(), neighbours.pair_blocks()
    assert len(blocks["blocks"]) > 8
    work = work_of(domain, blocks)
    assert max(work) < 2.0 * np.mean(work)


def work_of(domain, blocks):
    """Number of pairs of each block."""
    return [
        np.count_nonzero(blocks["rows"][domain["short_offsets"][begin] : domain["short_offsets"][end]] != NOT_HERE)
        for begin, end, _, _ in blocks["blocks"]
    ]


def water_like(atoms):
    """Domain and blocks of atoms at random, as dense as those of water."""
    edge = (10.0 * atoms) ** (1 / 3)
    neighbours = _engine.NeighbourList(4.5, 0.0, 0.5)
    neighbours.update(np.random.default_rng(1).uniform(0.0, edge, (atoms, 3)), np.eye(3) * edge, (True, True, True))
    return neighbours.domain(), neighbours.pair_blocks()


@pytest.mark.parametrize("atoms", [192, 600, 1536, 5184])
def test_few_blocks_have_nearly_the_same_number_of_pairs(atoms):
    """So that threads, each of which begins with as many blocks as the others, end together."""
    work = work_of(*water_like(atoms))
    assert 2 < len(work) < 64
    assert max(work) < 1.1 * np.mean(work)


def test_of_many_blocks_none_has_much_more_work_than_another():
    work = work_of(*water_like(20000))
    assert len(work) > 64
    assert max(work) < 1.5 * np.mean(work)
