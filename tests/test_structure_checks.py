"""Structures that no substance has are said; those that there are, are not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene, molecule
from ase.collections import g2
from ase.data import chemical_symbols, covalent_radii, reference_states
from ase.io import write

from so3md.structure_checks import OddStructureWarning, oddities, warn_of_odd_structures
from so3md.structures import read_structure

CRYSTALS = [
    ("NaCl", "rocksalt", 5.64),
    ("LiF", "rocksalt", 4.03),
    ("LiH", "rocksalt", 4.08),
    ("MgO", "rocksalt", 4.21),
    ("CsCl", "cesiumchloride", 4.12),
    ("SiC", "zincblende", 4.36),
    ("BN", "zincblende", 3.615),
]


def in_a_box(atoms: Atoms, *cell: float) -> Atoms:
    boxed = atoms.copy()
    boxed.set_cell(cell)
    boxed.pbc = True
    return boxed


def only(texts: list[str]) -> str:
    assert len(texts) == 1, texts
    return texts[0]


# --- what there is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", g2.names)
def test_molecules_are_not_odd(name: str):
    assert oddities(molecule(name)) == []


def test_elements_as_crystals_are_not_odd():
    checked = 0
    for number, state in enumerate(reference_states[:97]):
        if state and state["symmetry"] in ("fcc", "bcc", "hcp", "diamond", "sc") and state.get("basis", ()) is not None:
            assert oddities(bulk(chemical_symbols[number])) == []
            checked += 1
    assert checked > 50


@pytest.mark.parametrize("crystal", CRYSTALS)
def test_compounds_and_compressed_ones_are_not_odd(crystal: tuple[str, str, float]):
    name, lattice, edge = crystal
    assert oddities(bulk(name, lattice, a=edge)) == []
    assert oddities(bulk(name, lattice, a=0.93 * edge)) == []  # a volume of 80 %, as at high pressure


def test_water_layers_and_chains_are_not_odd():
    assert oddities(read_structure("water")) == []
    assert oddities(graphene()) == []
    assert oddities(Atoms("C", cell=[9, 9, 1.28], pbc=[False, False, True])) == []


# --- what nobody means -----------------------------------------------------------------------------------------------


def test_a_placeholder_box_is_named():
    texts = oddities(in_a_box(molecule("CH3CH2OH"), 1, 1, 1))
    assert "the box of 1 x 1 x 1 A is a placeholder" in texts[0]
    assert "atom 0 (C)" in texts[1]


def test_a_density_that_no_substance_has_is_named():
    water = read_structure("water")
    half = water.copy()
    half.set_cell(water.cell * 0.5)
    assert "192 atoms in the periodic box of 6.2 x 6.2 x 6.2 A are 8.0 g/cm^3" in oddities(half)[0]
    assert "denser than any substance" in only(oddities(bulk("Cu", a=2.2)))


def test_structures_without_a_bond_are_in_other_units():
    for atoms in (molecule("CH3CH2OH"), read_structure("water")):
        atoms.set_cell(1.8897 * atoms.cell, scale_atoms=False)
        atoms.positions *= 1.8897
        assert "no two of its atoms are within a bond" in only(oddities(atoms))
    assert oddities(Atoms("H2", [[0, 0, 0], [0, 0, 5]])) == []  # two that are pulled apart
    assert oddities(bulk("Ar", "fcc", a=5.3, cubic=True)) == []
    assert oddities(bulk("NaCl", "rocksalt", a=5.64, cubic=True)) == []


@pytest.mark.parametrize("second", ["O", "C", "H"])
def test_alternate_locations_are_named(second: str):
    atoms = molecule("CH3CH2OH")
    atoms.append(second)
    oxygen = atoms.symbols.indices()["O"][0]
    atoms.positions[-1] = atoms.positions[oxygen] + [0.25, 0.2, 0.1]
    text = only(oddities(atoms))
    assert f"atom {oxygen} (O) and atom 9 ({second}) (0.335 A)" in text


def test_half_a_bond_is_the_limit():
    bond = 2 * covalent_radii[6]
    for share, expected in ((0.49, 1), (0.51, 0)):
        assert len(oddities(Atoms("C2", [[0, 0, 0], [0, 0, share * bond]]))) == expected
        assert len(oddities(Atoms("H2", [[0, 0, 0], [0, 0, share]]))) == expected  # of hydrogen: 0.5 A


@pytest.mark.parametrize("cell", [[[9, 0, 0], [0, 9, 0], [0, 0, 9]], [[9, 0, 0], [4, 8, 0], [-3, 2, 7]]])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_periodic_images_count(cell: list[list[float]], axis: int):
    """Across a face of the cell, wherever atoms were unwrapped to; not across a face that is not periodic."""
    atoms = Atoms("C2", np.zeros((2, 3)), cell=cell, pbc=True)
    atoms.positions[1] = 0.95 * atoms.cell[axis] + 3 * atoms.cell[0] - 2 * atoms.cell[2]
    distance = 0.05 * atoms.cell.lengths()[axis]
    assert f"atom 0 (C) and atom 1 (C) ({distance:.3f} A)" in only(oddities(atoms))
    atoms.pbc[axis] = False
    atoms.positions[1] = 0.95 * atoms.cell[axis]
    assert oddities(atoms) == []


def test_an_atom_at_the_face_is_not_its_own_image():
    assert oddities(Atoms("H", [[-1e-17, 0, 9]], cell=[9, 9, 9], pbc=True)) == []
    assert "atom 0 (C) and its periodic image (0.600 A)" in oddities(Atoms("C", cell=[9, 9, 0.6], pbc=True))[1]


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("thin", [1e-3, 1e-30])
def test_thin_boxes_and_heaps_of_atoms_cost_little(thin: float):
    assert "repeats atoms after" in oddities(in_a_box(molecule("CH4"), thin, 9, 9))[0]
    heap = only(oddities(Atoms("H3000", np.zeros((3000, 3)))))
    assert "atom 0 (H) and atom 1 (H) (0.000 A)" in heap
    assert len(heap) < 400


def test_what_the_engine_refuses_is_left_to_it():
    assert oddities(Atoms()) == []
    assert oddities(Atoms("H2", [[0, 0, 0], [np.nan, 0, 0]])) == []
    assert oddities(Atoms("H", cell=[9, 9, 0], pbc=True)) == []
    assert oddities(Atoms("H", cell=[[9, 0, 0], [9, 0, 0], [0, 0, 9]], pbc=True)) == []


# --- what is said ----------------------------------------------------------------------------------------------------


def test_of_many_structures_a_few_are_named():
    bad = Atoms("C2", [[0, 0, 0], [0, 0, 0.1]])
    with pytest.warns(OddStructureWarning) as record:
        warn_of_odd_structures([molecule("CH4"), *[bad] * 10])
    texts = [str(item.message) for item in record]
    assert [text[:13] for text in texts[:3]] == [f"structure {n}: " for n in (1, 2, 3)]
    assert texts[3:] == ["7 more structures are like these"]


def test_reading_a_structure_says_it(tmp_path):
    write(tmp_path / "good.xyz", molecule("CH4"))
    write(tmp_path / "bad.xyz", Atoms("C2", [[0, 0, 0], [0, 0, 0.1]]))
    with pytest.warns(OddStructureWarning, match=r"atom 0 \(C\) and atom 1 \(C\)"):
        read_structure(tmp_path / "bad.xyz")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_structure(tmp_path / "good.xyz")
