"""The calculator inside ASE's tools: optimisers, filters, NEB, vibrations, phonons, and every driver of dynamics."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.db import connect
from ase.filters import FrechetCellFilter, StrainFilter, UnitCellFilter
from ase.md.andersen import Andersen
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.nose_hoover_chain import MTKNPT, IsotropicMTKNPT, NoseHooverChainNVT
from ase.md.nptberendsen import Inhomogeneous_NPTBerendsen, NPTBerendsen
from ase.md.nvtberendsen import NVTBerendsen
from ase.md.verlet import VelocityVerlet
from ase.mep import NEB
from ase.optimize import BFGS, FIRE, LBFGS, BFGSLineSearch, GPMin
from ase.phonons import Phonons
from ase.vibrations import Vibrations
from tolerances import MIXED_ENERGY_PER_ATOM

from so3md import So3kratesCalculator

FMAX = 0.02  # eV/A
# Two optimisers that stop at FMAX end within FMAX^2 / (2 k) of the minimum, with k >= 1 eV/A^2 for soft rotations.
SAME_MINIMUM = 1e-3  # eV


@pytest.fixture(scope="module")
def calculator() -> So3kratesCalculator:
    return So3kratesCalculator(threads=1)


@pytest.fixture
def water(calculator: So3kratesCalculator) -> Atoms:
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=2)
    atoms.calc = calculator
    return atoms


@pytest.fixture
def diamond(calculator: So3kratesCalculator) -> Atoms:
    """A small stiff crystal. SO3LR knows molecules and not diamond; what ASE makes of its energy is to be right."""
    atoms = bulk("C", a=3.65)
    atoms.calc = calculator
    return atoms


@pytest.fixture(scope="module")
def lowest_energy_of_water(calculator: So3kratesCalculator) -> float:
    atoms = molecule("H2O")
    atoms.calc = calculator
    BFGS(atoms, logfile=None).run(fmax=FMAX / 10)
    return atoms.get_potential_energy()


@pytest.mark.parametrize("optimizer", [BFGS, LBFGS, FIRE, BFGSLineSearch, GPMin])
def test_optimisers_find_the_minimum(water: Atoms, lowest_energy_of_water: float, optimizer):
    assert optimizer(water, logfile=None).run(fmax=FMAX, steps=200)
    assert np.linalg.norm(water.get_forces(), axis=1).max() <= FMAX
    assert water.get_potential_energy() == pytest.approx(lowest_energy_of_water, rel=0, abs=SAME_MINIMUM)


@pytest.mark.parametrize("cell_filter", [FrechetCellFilter, UnitCellFilter, StrainFilter])
def test_filters_relax_the_cell_to_zero_stress(diamond: Atoms, cell_filter):
    before = np.abs(diamond.get_stress()).max()
    assert BFGS(cell_filter(diamond), logfile=None).run(fmax=FMAX, steps=50)
    assert np.abs(diamond.get_stress()).max() < before / 10
    assert diamond.cell.cellpar()[3:] == pytest.approx([60, 60, 60], abs=0.1)


@pytest.mark.parametrize("shared", [True, False])
def test_nudged_elastic_band_of_the_inversion_of_ammonia(calculator: So3kratesCalculator, shared: bool):
    initial = molecule("NH3")
    initial.calc = calculator
    BFGS(initial, logfile=None).run(fmax=FMAX)
    final = initial.copy()
    final.positions[0, 2] = 2 * final.positions[1:, 2].mean() - final.positions[0, 2]
    images = [initial, *(initial.copy() for _ in range(3)), final]
    for image in images[1:]:
        image.calc = calculator if shared else So3kratesCalculator(threads=1)
    band = NEB(images, climb=True, method="improvedtangent", allow_shared_calculator=shared)
    band.interpolate()
    assert FIRE(band, logfile=None).run(fmax=2 * FMAX, steps=100)
    energies = np.array([image.get_potential_energy() for image in images]) - initial.get_potential_energy()
    assert energies[[4, 3]] == pytest.approx(energies[[0, 1]], rel=0, abs=SAME_MINIMUM)
    assert energies.argmax() == 2
    assert 0.1 < energies[2] < 0.4  # eV; 0.25 in experiment


def test_vibrations_of_water(water: Atoms, tmp_path):
    BFGS(water, logfile=None).run(fmax=FMAX / 10)
    vibrations = Vibrations(water, name=str(tmp_path / "vibrations"))
    vibrations.run()
    wavenumbers = vibrations.get_frequencies()
    bend, *stretches = wavenumbers[-3:].real
    assert 1400 < bend < 1900  # 1/cm; 1595 in experiment
    assert all(3500 < stretch < 4200 for stretch in stretches)  # 3657 and 3756
    assert np.abs(wavenumbers[:6]).max() < 200  # three translations, three rotations


def test_phonons_of_diamond(diamond: Atoms, tmp_path):
    phonons = Phonons(diamond, diamond.calc, supercell=(2, 2, 2), delta=0.02, name=str(tmp_path / "phonons"))
    phonons.run()
    phonons.read(acoustic=True)
    energies = phonons.band_structure([[0, 0, 0]], verbose=False)[0]
    assert np.abs(energies[:3]).max() < 1e-3  # eV: the crystal as a whole moves freely
    assert energies[3:] == pytest.approx([_energy_of_the_optical_mode(diamond)] * 3, rel=0.01)


def _energy_of_the_optical_mode(diamond: Atoms) -> float:
    """hbar omega (eV) of the two sublattices of diamond moving against each other, from one displacement."""
    displacement = 0.02  # A
    diamond.positions[1, 0] += displacement
    spring_constant = -diamond.get_forces()[1, 0] / displacement
    reduced_mass = diamond.get_masses()[0] / 2
    return units._hbar * units.J * units.s * np.sqrt(spring_constant / reduced_mass)


# --- dynamics -------------------------------------------------------------------------------------------------------

TIMESTEP = 0.5 * units.fs
TEMPERATURE = {"temperature_K": 300}
PRESSURE = {"pressure_au": 1e-4, "compressibility_au": 1e-3}


def langevin_baoab(atoms: Atoms):
    module = pytest.importorskip("ase.md.langevinbaoab", reason="this version of ASE does not have it")
    rng = np.random.default_rng(1)
    return module.LangevinBAOAB(atoms, TIMESTEP, **TEMPERATURE, T_tau=100 * units.fs, rng=rng)


DRIVERS = {
    "VelocityVerlet": lambda atoms: VelocityVerlet(atoms, TIMESTEP),
    "Langevin": lambda atoms: Langevin(atoms, TIMESTEP, **TEMPERATURE, friction=0.01 / units.fs, fixcm=False),
    "LangevinBAOAB": langevin_baoab,
    "Andersen": lambda atoms: Andersen(atoms, TIMESTEP, **TEMPERATURE, andersen_prob=0.1),
    "Bussi": lambda atoms: Bussi(atoms, TIMESTEP, **TEMPERATURE, taut=100 * units.fs),
    "NVTBerendsen": lambda atoms: NVTBerendsen(atoms, TIMESTEP, **TEMPERATURE, taut=100 * units.fs),
    "NoseHooverChainNVT": lambda atoms: NoseHooverChainNVT(atoms, TIMESTEP, **TEMPERATURE, tdamp=100 * units.fs),
    "NPTBerendsen": lambda atoms: NPTBerendsen(atoms, TIMESTEP, **TEMPERATURE, **PRESSURE),
    "Inhomogeneous_NPTBerendsen": lambda atoms: Inhomogeneous_NPTBerendsen(atoms, TIMESTEP, **TEMPERATURE, **PRESSURE),
    "IsotropicMTKNPT": lambda atoms: IsotropicMTKNPT(
        atoms, TIMESTEP, **TEMPERATURE, pressure_au=1e-4, tdamp=100 * units.fs, pdamp=1000 * units.fs
    ),
    "MTKNPT": lambda atoms: MTKNPT(
        atoms, TIMESTEP, **TEMPERATURE, pressure_au=1e-4, tdamp=100 * units.fs, pdamp=1000 * units.fs
    ),
}


@pytest.mark.parametrize("name", DRIVERS)
def test_every_driver_of_dynamics_moves_the_crystal_and_keeps_it_whole(diamond: Atoms, name: str):
    atoms = diamond.repeat((2, 2, 1))
    atoms.calc = diamond.calc
    atoms.set_momenta(np.random.default_rng(4).normal(scale=0.5, size=(len(atoms), 3)))  # about 300 K
    before = atoms.positions.copy()
    DRIVERS[name](atoms).run(10)
    moved = np.linalg.norm(atoms.positions - before, axis=1)
    assert moved.min() > 0
    assert moved.max() < 1  # A in 5 fs
    assert 0 < atoms.get_temperature() < 3000
    fresh = atoms.copy()
    fresh.calc = So3kratesCalculator(threads=1)
    same = MIXED_ENERGY_PER_ATOM * len(atoms)
    assert atoms.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), rel=0, abs=same)


def test_a_database_keeps_results_and_parameters(water: Atoms, tmp_path):
    water.calc = So3kratesCalculator(charge=0, threads=1)
    water.get_forces()
    with connect(tmp_path / "structures.db") as database:
        number = database.write(water)
        row = database.get(number)
    assert row.calculator == "so3krates"
    assert row.calculator_parameters == {"charge": 0, "threads": 1}
    assert row.energy == pytest.approx(water.get_potential_energy())
