"""The driver of i-PI: its answers are the calculator's, alone and in batches, and i-PI itself runs with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import write
from ase.stress import voigt_6_to_full_3x3_stress
from optional_programs import needs
from sanitizers import patience
from tolerances import EXACT

from so3md import So3kratesCalculator, evaluate_many
from so3md.structures import read_structure

pytestmark = needs("ipi")

#: Of energies that went through i-PI's units, and of its output, which has 8 digits.
OUTPUT = 1e-7  # relative


def units_of_ipi() -> tuple[float, float]:
    from ipi.utils.units import unit_to_internal

    return unit_to_internal("length", "angstrom", 1.0), unit_to_internal("energy", "electronvolt", 1.0)


def beads(atoms: Atoms, count: int) -> list[Atoms]:
    made = []
    for seed in range(count):
        bead = atoms.copy()
        bead.rattle(0.05, seed=seed)
        made.append(bead)
    return made


def check(answer: tuple, atoms: Atoms, **parameters: float) -> None:
    length, energy = units_of_ipi()
    calculator = So3kratesCalculator(precision="double", **parameters)
    forces = calculator.get_forces(atoms)
    assert answer[0] / energy == pytest.approx(calculator.get_potential_energy(atoms), abs=EXACT.component * len(atoms))
    assert answer[1] / energy * length == pytest.approx(forces, abs=EXACT.forces)
    virial, volume = np.zeros((3, 3)), atoms.get_volume() if atoms.pbc.any() else 0.0
    if volume:
        virial = -voigt_6_to_full_3x3_stress(calculator.get_stress(atoms)) * volume
    assert answer[2] / energy == pytest.approx(virial, abs=EXACT.stress * volume)
    dipole = json.loads(answer[3])["dipole"]
    size = np.abs(atoms.positions).sum()
    assert np.array(dipole) / length == pytest.approx(calculator.get_dipole_moment(atoms), abs=EXACT.charges * size)


@pytest.mark.parametrize("kind", ["molecule", "crystal", "ion"])
def test_answers_are_those_of_the_calculator(kind: str, tmp_path: Path) -> None:
    from so3md.ipi import Driver

    parameters = {"charge": 1, "spin": 0.5} if kind == "ion" else {}
    atoms = read_structure("water") if kind == "crystal" else molecule("H2O", vacuum=8.0)
    if kind == "crystal":  # i-PI's cells have vectors as columns, the first along x
        length = atoms.cell[0, 0]
        atoms.set_cell([[length, 0, 0], [1.0, length, 0], [0.5, -0.7, length]])
    write(tmp_path / "template.xyz", atoms)
    length = units_of_ipi()[0]
    driver = Driver(str(tmp_path / "template.xyz"), verbosity=3, precision="double", **parameters)
    cell = atoms.cell.array.T * length
    check(driver(cell, atoms.positions * length), atoms, **parameters)
    some = beads(atoms, 3)
    answers = driver([cell] * 3, [bead.positions * length for bead in some])
    for answer, bead in zip(answers, some, strict=True):
        check(answer, bead, **parameters)
    alone = driver([cell], [some[0].positions * length])
    check(alone[0], some[0], **parameters)


def test_text_is_understood(tmp_path: Path) -> None:
    from so3md.ipi import Driver

    atoms = molecule("H2O")
    write(tmp_path / "template.xyz", atoms)
    driver = Driver(str(tmp_path / "template.xyz"), charge="1", spin="0.5", lr_cutoff="none", precision="double")
    length = units_of_ipi()[0]
    check(driver(np.eye(3), atoms.positions * length), atoms, charge=1, spin=0.5)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    from so3md.ipi import Driver

    write(tmp_path / "template.xyz", molecule("H2O"))
    driver = Driver(str(tmp_path / "template.xyz"))
    with pytest.raises(ValueError, match="i-PI has 4 atoms and the template 3"):
        driver(np.eye(3), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="same place"):
        driver([np.eye(3)] * 2, [np.zeros((3, 3))] * 2)
    with pytest.raises(TypeError, match="cutof"):
        Driver(str(tmp_path / "template.xyz"), cutof=3)


# --- i-PI -----------------------------------------------------------------------------------------------------------

INPUT = """<simulation verbosity='low'>
  <output prefix='out'>
    <properties stride='1' filename='log'>
      [step, potential{electronvolt}, potential(bead=2){electronvolt}]
    </properties>
    <trajectory stride='1' filename='positions' format='ase'> positions </trajectory>
  </output>
  <total_steps>2</total_steps>
  <prng><seed>1</seed></prng>
  %s
  <system>
    <initialize nbeads='4'>
      <file mode='ase'> start.xyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces><force forcefield='model'/></forces>
    <motion mode='dynamics'>
      <dynamics mode='nvt'>
        <thermostat mode='pile_l'><tau units='femtosecond'>50</tau></thermostat>
        <timestep units='femtosecond'>0.25</timestep>
      </dynamics>
    </motion>
    <ensemble><temperature units='kelvin'>300</temperature></ensemble>
  </system>
</simulation>
"""


def environment() -> dict[str, str]:
    """With the programs of this Python's environment, and this so3md."""
    paths = os.pathsep.join(filter(None, sys.path))
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": paths,
    }


def check_run(folder: Path) -> None:
    """The energies in i-PI's output are those of the positions in its output."""
    from ase.io import read

    rows = np.loadtxt(folder / "out.log")
    assert rows.shape == (3, 3)
    frames = [read(folder / f"out.positions_{bead}.extxyz", index=":") for bead in range(4)]
    for step, row in enumerate(rows):
        some = [frames[bead][step] for bead in range(4)]
        for atoms in some:
            atoms.set_pbc(False)
        energies = [prediction.energy for prediction in evaluate_many(some, precision="double")]
        assert row[1] == pytest.approx(np.mean(energies), rel=OUTPUT)
        assert row[2] == pytest.approx(energies[2], rel=OUTPUT)


def test_beads_in_a_batch_in_one_process(tmp_path: Path) -> None:
    from so3md.ipi import driver_path

    write(tmp_path / "start.xyz", molecule("H2O", vacuum=8.0))
    field = f"""<ffdirect name='model' pbc='False'>
    <pes>custom</pes> <pes_path>{driver_path()}</pes_path> <batch_size>4</batch_size>
    <parameters> {{template: start.xyz, precision: double}} </parameters>
  </ffdirect>"""
    (tmp_path / "input.xml").write_text(INPUT % field)
    result = subprocess.run(
        ["i-pi", "input.xml"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=patience(300),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    check_run(tmp_path)


def test_a_driver_of_its_own_by_a_socket(tmp_path: Path) -> None:
    write(tmp_path / "start.xyz", molecule("H2O", vacuum=8.0))
    name = f"so3md_test_{os.getpid()}"
    field = f"<ffsocket name='model' mode='unix' pbc='False'><address>{name}</address></ffsocket>"
    (tmp_path / "input.xml").write_text(INPUT % field)
    path = subprocess.run(
        [sys.executable, "-m", "so3md.ipi"], env=environment(), capture_output=True, text=True, check=True
    ).stdout.strip()
    server = subprocess.Popen(["i-pi", "input.xml"], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE)
    try:
        end = time.monotonic() + patience(120)
        while not Path(f"/tmp/ipi_{name}").exists() and server.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        options = ["-u", "-a", name, "-m", "custom", "-P", path, "-o", "template=start.xyz,precision=double"]
        result = subprocess.run(
            ["i-pi-driver-py", *options],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=patience(120),
        )
        assert result.returncode == 0, result.stdout + result.stderr
        output, _ = server.communicate(timeout=patience(300))
    finally:
        server.kill()
    assert server.returncode == 0, output
    check_run(tmp_path)
