"""Reading and replicating structures."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import write

from so3md.structures import read_structure

BOX = Atoms("H2O", molecule("H2O").positions, cell=[4, 5, 6], pbc=[True, True, False])


def test_the_example_is_water_at_its_density():
    atoms = read_structure("water")
    assert atoms.get_chemical_formula() == "H128O64"
    assert atoms.pbc.all()
    grams_per_mole, cubic_centimetres = atoms.get_masses().sum(), atoms.get_volume() * 1e-24
    assert grams_per_mole / 6.02214076e23 / cubic_centimetres == pytest.approx(1.0, abs=0.01)


def test_a_supercell_has_more_charge_and_no_velocities(tmp_path):
    box = BOX.copy()
    box.info = {"charge": 1, "spin": 0.5}
    box.set_momenta(np.ones((3, 3)))
    write(tmp_path / "box.xyz", box)
    assert read_structure(tmp_path / "box.xyz").has("momenta")
    replicated = read_structure(tmp_path / "box.xyz", supercell=(2, 3, 1))
    assert len(replicated) == 18
    assert not replicated.has("momenta")
    assert replicated.info["charge"] == 6
    assert replicated.info["spin"] == 3


def test_a_frame_of_several_can_be_picked(tmp_path):
    write(tmp_path / "frames.xyz", [molecule(name) for name in ("H2O", "NH3", "CH4")])
    assert read_structure(tmp_path / "frames.xyz").get_chemical_formula() == "CH4"
    assert read_structure(tmp_path / "frames.xyz", index=1).get_chemical_formula() == "H3N"
    with pytest.raises(ValueError, match="ASE could not read it"):
        read_structure(tmp_path / "frames.xyz", index=7)


def test_what_cannot_be_read_or_replicated_is_refused(tmp_path):
    write(tmp_path / "box.xyz", BOX)
    with pytest.raises(ValueError, match="not periodic along cell vector 3"):
        read_structure(tmp_path / "box.xyz", supercell=(1, 1, 2))
    with pytest.raises(ValueError, match="expected three positive integers"):
        read_structure(tmp_path / "box.xyz", supercell=(1, 0, 1))
    with pytest.raises(FileNotFoundError, match="examples that ship with so3md: water"):
        read_structure(tmp_path / "nothing.xyz")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read_structure(tmp_path)
