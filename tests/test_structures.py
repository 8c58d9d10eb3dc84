"""Reading and replicating structures."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import write

from so3md.charge_and_spin import charge_and_spin_of
from so3md.structures import read_structure, read_structures

BOX = Atoms("H2O", molecule("H2O").positions, cell=[4, 5, 6], pbc=[True, True, False])


def test_the_example_is_water_at_its_density():
    atoms = read_structure("water")
    assert atoms.get_chemical_formula() == "H128O64"
    assert atoms.pbc.all()
    grams_per_mole, cubic_centimetres = atoms.get_masses().sum(), atoms.get_volume() * 1e-24
    assert grams_per_mole / 6.02214076e23 / cubic_centimetres == pytest.approx(1.0, abs=0.01)


def charged_box(tmp_path, **info: float) -> str:
    box = BOX.copy()
    box.info = info
    box.set_momenta(np.ones((3, 3)))
    write(tmp_path / "box.xyz", box)
    return str(tmp_path / "box.xyz")


@pytest.mark.parametrize("info", [{"charge": 1, "spin": 0.5}, {"total_charge": 1, "multiplicity": 2}])
def test_a_supercell_has_more_charge_and_no_velocities(tmp_path, info: dict[str, float]):
    path = charged_box(tmp_path, **info)
    assert read_structure(path).has("momenta")
    replicated = read_structure(path, supercell=(2, 3, 1))
    assert len(replicated) == 18
    assert not replicated.has("momenta")
    assert charge_and_spin_of(replicated) == (6, 3)


def test_charge_and_spin_that_are_given_are_those_of_one_cell_as_well(tmp_path):
    """One meaning: the same number in the file and on the command line is the same system."""
    for path in (charged_box(tmp_path), charged_box(tmp_path, charge=-5, spin=7, mult=3)):
        assert charge_and_spin_of(read_structure(path, charge=1, spin=0.5)) == (1, 0.5)
        assert charge_and_spin_of(read_structure(path, supercell=(2, 3, 1), charge=1, spin=0.5)) == (6, 3)


def test_a_supercell_has_no_values_of_one_cell(tmp_path):
    box = BOX.copy()
    box.info = {"REF_energy": -3.5, "virial": np.eye(3), "dipole": [1.0, 2, 3], "energy": -4, "name": "water", "id": 7}
    box.arrays |= {"REF_forces": np.ones((3, 3)), "initial_charges": np.full(3, 0.5), "residue": np.array([1, 2, 2])}
    box.set_masses([2.0, 2.0, 16.0])
    box.set_constraint(FixAtoms([0]))
    write(tmp_path / "box.xyz", box, columns=None)
    replicated = read_structure(tmp_path / "box.xyz", supercell=(2, 1, 1), charge=0)
    assert replicated.info == {"name": "water", "id": 7, "charge": 0, "spin": 0}
    assert set(replicated.arrays) == {"numbers", "positions", "masses", "residue"}
    assert replicated.constraints[0].index.tolist() == [0, 3]
    assert replicated.get_masses().tolist() == [2, 2, 16] * 2


def test_a_frame_of_several_can_be_picked(tmp_path):
    write(tmp_path / "frames.xyz", [molecule(name) for name in ("H2O", "NH3", "CH4")])
    assert read_structure(tmp_path / "frames.xyz").get_chemical_formula() == "CH4"
    assert read_structure(tmp_path / "frames.xyz", index=1).get_chemical_formula() == "H3N"
    for index in (3, 7, -4, 10**30):
        with pytest.raises(ValueError, match=rf"there is no frame {index}, it has 3"):
            read_structure(tmp_path / "frames.xyz", index=index)
    atom = "    0.0000    0.0000    0.0000 C   0  0\n"  # written out, since ASE 3.26 writes no SDF
    (tmp_path / "one.sdf").write_text(f"\n\n\n  1  0  0  0  0  0            999 V2000\n{atom}M  END\n")
    with pytest.raises(ValueError, match="there is no frame 1, it has 1"):
        read_structure(tmp_path / "one.sdf", index=1)


def test_slices_of_a_file_keep_its_results(tmp_path):
    atoms = molecule("H2O")
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    write(tmp_path / "frames.xyz", [atoms] * 5)
    frames = read_structures(tmp_path / "frames.xyz", "::2")
    assert [frame.get_potential_energy() for frame in frames] == [-1.0] * 3
    assert read_structures(tmp_path / "frames.xyz", "9:") == []
    for index in ("first", "::0", "1:2:3:4", "1e3", ""):
        with pytest.raises(ValueError, match="expected a number, or a slice"):
            read_structures(tmp_path / "frames.xyz", index)


def test_a_format_that_the_name_does_not_tell_can_be_given(tmp_path):
    write(tmp_path / "frame@300K", molecule("H2O"), format="xyz")
    assert len(read_structure(tmp_path / "frame@300K", format="xyz")) == 3
    write(tmp_path / "salt.start", bulk("NaCl", "rocksalt", a=5.64), format="vasp")
    assert len(read_structure(tmp_path / "salt.start", format="vasp")) == 2
    with pytest.raises(ValueError, match="give it with --format"):
        read_structure(tmp_path / "salt.start")
    with pytest.raises(ValueError, match="ASE has no such format"):
        read_structure(tmp_path / "frame@300K", format="xzy")
    with pytest.raises(ValueError, match="could not read it as cif"):
        read_structure(tmp_path / "frame@300K", format="cif")


def test_what_cannot_be_read_or_replicated_is_refused(tmp_path):
    write(tmp_path / "box.xyz", BOX)
    with pytest.raises(ValueError, match="not periodic along cell vector 3"):
        read_structure(tmp_path / "box.xyz", supercell=(1, 1, 2))
    with pytest.raises(ValueError, match="expected three positive integers"):
        read_structure(tmp_path / "box.xyz", supercell=(1, 0, 1))
    (tmp_path / "empty.xyz").touch()
    with pytest.raises(ValueError, match="Empty file"):
        read_structure(tmp_path / "empty.xyz")
    with pytest.raises(FileNotFoundError, match="examples that ship with so3md: water"):
        read_structure(tmp_path / "nothing.xyz")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read_structure(tmp_path)


def test_deuterium_in_pdb_files_is_hydrogen_of_its_mass(tmp_path):
    row = "HETATM{:5d}  {:3s} DOD A   1    {:8.3f}{:8.3f}{:8.3f}  1.00  0.00          {:>2s}\n"
    heavy = (
        row.format(1, "O", 0, 0, 0, "O") + row.format(2, "D1", 0.96, 0, 0, "D") + row.format(3, "D2", 0, 0.96, 0, "T")
    )
    light = heavy.replace(" D\n", " H\n").replace(" T\n", " H\n").replace("D1", "H1").replace("D2", "H2")
    (tmp_path / "water.pdb").write_text(f"MODEL\n{heavy}ENDMDL\nMODEL\n{light}ENDMDL\nEND\n")
    for index, masses in ((0, [15.999, 2.014, 3.016]), (1, [15.999, 1.008, 1.008])):
        atoms = read_structure(tmp_path / "water.pdb", index)
        assert atoms.numbers.tolist() == [8, 1, 1]
        assert atoms.get_masses().tolist() == masses


@pytest.mark.parametrize("name", ["heavy.xyz", "heavy.extxyz"])
def test_deuterium_and_tritium_are_hydrogen_of_other_masses(name: str, tmp_path):
    plain = "3\nheavy water\nO 0 0 0\nD 0.96 0 0\nT 0 0.96 0\n"
    other = "2\nProperties=pos:R:3:species:S:1 charge=0\n0 0 0 H\n0.74 0 0 D\n"
    for text, numbers, masses in ((plain, [8, 1, 1], [15.999, 2.014, 3.016]), (other, [1, 1], [1.008, 2.014])):
        (tmp_path / name).write_text(text)
        atoms = read_structure(tmp_path / name)
        assert atoms.numbers.tolist() == numbers
        assert atoms.get_masses().tolist() == masses
    if name == "heavy.xyz":  # frames one by one
        (tmp_path / name).write_text(plain.replace("D", "H") + plain)
        assert read_structure(tmp_path / name, 0).get_masses().tolist() == [15.999, 1.008, 3.016]
        assert read_structure(tmp_path / name, -1).get_masses().tolist() == [15.999, 2.014, 3.016]
