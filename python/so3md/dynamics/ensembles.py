"""The integrators, taken from ASE: which one samples an ensemble, and its state, so that a run can be continued."""

from __future__ import annotations

import warnings
from typing import Any

import ase
import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.constraints import FixInternals
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.nose_hoover_chain import IsotropicMTKBarostat, IsotropicMTKNPT, NoseHooverChainThermostat
from ase.md.verlet import VelocityVerlet
from ase.parallel import DummyMPI

from so3md.dynamics.degrees_of_freedom import conserved_directions, free_directions, refuse_unfit_constraints
from so3md.dynamics.respa import RespaBussi, RespaLangevin, RespaNPT, RespaVerlet
from so3md.dynamics.settings import Settings
from so3md.present import present
from so3md.student import ForceLimits

Driver = VelocityVerlet | Langevin | Bussi | IsotropicMTKNPT | RespaVerlet | RespaLangevin

BAR = 1e5 * units.Pascal  # bar in eV/Angstrom^3


class MomentumConservingNPT(IsotropicMTKNPT):
    """ASE's isotropic Martyna-Tobias-Klein dynamics with the right number of degrees of freedom.

    The equations conserve a total momentum of zero, so that 3 (N - 1) degrees of freedom are left, of which ASE counts
    3 N: it would be too hot by N / (N - 1). N enters nowhere else but through that number.
    """

    #: What of ASE's class has no public name and is replaced here; pyproject.toml bounds ASE's version for it.
    PRIVATE = ("_num_atoms_global", "_thermostat", "_barostat")

    def __init__(self, atoms: Atoms, timestep: float, temperature_K: float, tdamp: float, pdamp: float, **kwargs: Any):
        super().__init__(atoms, timestep, temperature_K=temperature_K, tdamp=tdamp, pdamp=pdamp, **kwargs)
        free = len(atoms) - 1
        self._num_atoms_global = free
        self._thermostat = NoseHooverChainThermostat(
            num_atoms_global=free, masses=self.masses, temperature_K=temperature_K, tdamp=tdamp
        )
        self._barostat = IsotropicMTKBarostat(num_atoms_global=free, temperature_K=temperature_K, pdamp=pdamp)


def check_ase(dynamics: type = IsotropicMTKNPT) -> None:
    """Raise ImportError unless ASE's class is the one that `MomentumConservingNPT` knows: else it would be too hot."""
    used = {*vars(dynamics)["__init__"].__code__.co_names}
    missing = [name for name in MomentumConservingNPT.PRIVATE if name not in used]
    if missing:
        raise ImportError(
            f"ASE {ase.__version__} is not supported: expected 3.27 to 3.29; pip install 'ase>=3.27,<3.30' "
            f"({dynamics.__name__} has no {missing[0]})"
        )


check_ase()


def degrees_of_freedom(atoms: Atoms, settings: Settings) -> int:
    """The number of degrees of freedom that share the kinetic energy.

    Where the total momentum is conserved, it stays zero, which it is at the start. Langevin dynamics changes it.
    """
    resting = 0 if settings.kind == "nvt-langevin" else len(conserved_directions(atoms))
    return free_directions(atoms) - resting


def draw_velocities(atoms: Atoms, settings: Settings, rng: np.random.Generator) -> None:
    """Velocities from the Maxwell-Boltzmann distribution; the total momentum is zero where forces conserve it."""
    refuse_unfit_constraints(atoms)
    widths = np.sqrt(units.kB * settings.temperature * atoms.get_masses())
    atoms.set_momenta(widths[:, None] * rng.standard_normal((len(atoms), 3)))
    remove_total_momentum(atoms)


def keep_velocities(atoms: Atoms, settings: Settings) -> None:
    """Make what a structure came with fit its constraints and, unless Langevin dynamics is to change it, remove the
    total momentum."""
    refuse_unfit_constraints(atoms)
    if atoms.constraints:
        atoms.set_momenta(atoms.get_momenta())
    if settings.kind != "nvt-langevin":
        remove_total_momentum(atoms)


def warn_of_constraints(atoms: Atoms) -> None:
    """Warn of constraints with which temperatures are not what they seem."""
    if any(isinstance(constraint, FixInternals) for constraint in atoms.constraints):
        warnings.warn(
            "constraint FixInternals: temperatures are approximate, because ASE ignores masses there and stops the "
            "rotation of the whole; use FixBondLengths for bonds",
            stacklevel=2,
        )


def remove_total_momentum(atoms: Atoms) -> None:
    """Go to the frame of reference in which the centre of mass rests, along the directions where it can move freely."""
    directions = conserved_directions(atoms)
    if not len(directions):
        return
    masses = atoms.get_masses()[:, None]
    momenta = atoms.get_momenta()
    total = momenta.sum(axis=0)
    if len(directions) < 3:
        total = directions.T @ (directions @ total)
    atoms.set_momenta(momenta - masses * total / masses.sum())


def make_driver(
    atoms: Atoms, settings: Settings, rng: np.random.Generator, student: Calculator | None = None
) -> Driver:
    """The integrator for the settings, that of multiple time steps where there is a student. Raises ValueError if the
    structure cannot have this ensemble."""
    driver = _integrator(atoms, settings, rng, student)
    # ASE would let the first rank of the whole program draw the random numbers, also for ranks with another structure;
    # ours are the same on all ranks of a run, because they have the same seed.
    driver.comm = DummyMPI()
    return driver


def _integrator(atoms: Atoms, settings: Settings, rng: np.random.Generator, student: Calculator | None) -> Driver:
    timestep = settings.step_length * units.fs
    of_student = _student_arguments(settings, student)
    if settings.ensemble == "nve":
        return RespaVerlet(atoms, timestep, **of_student) if of_student else VelocityVerlet(atoms, timestep)
    if degrees_of_freedom(atoms, settings) <= 0:
        raise ValueError(f"{settings.kind}: no degrees of freedom are left for the thermostat; use langevin or nve")
    if settings.kind == "nvt-langevin":
        # fixcm=False: holding the centre of mass, as ASE would, changes the distribution that is sampled.
        friction = 1e-3 * present(settings.friction) / units.fs
        if of_student:
            return RespaLangevin(atoms, timestep, settings.temperature, friction, rng=rng, **of_student)
        return Langevin(atoms, timestep, temperature_K=settings.temperature, friction=friction, fixcm=False, rng=rng)
    if settings.kind == "nvt-csvr":
        return _velocity_rescaling(RespaBussi if of_student else Bussi, atoms, settings, rng, of_student)
    if not atoms.pbc.all():
        raise ValueError(f"npt: the structure must be periodic in all directions, found pbc = {atoms.pbc.tolist()}")
    if atoms.constraints:
        raise ValueError("npt: structures with constraints are not supported; remove them or use nvt")
    pressure = present(settings.pressure) * BAR
    if of_student:
        of_cell = {"pressure_au": pressure, "taup": present(settings.taup) * units.fs}
        return _velocity_rescaling(RespaNPT, atoms, settings, rng, of_student | of_cell)
    return MomentumConservingNPT(
        atoms,
        timestep,
        temperature_K=settings.temperature,
        pressure_au=pressure,
        tdamp=present(settings.taut) * units.fs,
        pdamp=present(settings.taup) * units.fs,
    )


def _student_arguments(settings: Settings, student: Calculator | None) -> dict[str, Any]:
    """What the integrators of multiple time steps are given besides; nothing for a single time step."""
    if (student is None) != (settings.outer_timestep is None):
        raise ValueError(
            "multiple time steps need both a student and an outer time step: give outer_timestep in the settings, and "
            "student"
        )
    if student is None:
        return {}
    limits = None
    if settings.max_difference is not None:
        limits = ForceLimits.given(settings.max_difference)
    return {"student": student, "substeps": settings.substeps, "limits": limits}


def _velocity_rescaling(
    kind: type[Bussi], atoms: Atoms, settings: Settings, rng: np.random.Generator, others: dict[str, Any]
) -> Bussi:
    if atoms.get_kinetic_energy() == 0:
        raise ValueError(
            f"{settings.kind}: all velocities are zero, which rescaling cannot change; draw them or use langevin"
        )
    temperature = settings.temperature
    taut = present(settings.taut) * units.fs
    driver = kind(atoms, settings.step_length * units.fs, temperature, taut=taut, rng=rng, **others)
    driver.ndof = degrees_of_freedom(atoms, settings)  # ASE would count the centre of mass, which rests
    driver.target_kinetic_energy = 0.5 * units.kB * temperature * driver.ndof
    return driver


def conserved_energy(driver: MolecularDynamics) -> float | None:
    """The energy (eV) that exact integration would conserve; None for Langevin dynamics, which has none in ASE, and
    for the stochastic barostat, which would need another evaluation for it."""
    if isinstance(driver, MomentumConservingNPT):
        return driver.get_conserved_energy()
    if isinstance(driver, Bussi) and not isinstance(driver, RespaNPT):
        return driver.atoms.get_total_energy() - driver.transferred_energy
    return None if isinstance(driver, Langevin | RespaLangevin | RespaNPT) else driver.atoms.get_total_energy()


# --- state ----------------------------------------------------------------------------------------------------------


def driver_state(driver: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Every number that the integrator keeps, by the name of its attribute; parts of it as "part.name".

    Taking all of them rather than a list of names keeps the state complete, whatever ASE's integrators keep.
    """
    state: dict[str, np.ndarray] = {}
    for name, value in vars(driver).items():
        if _is_part(value):
            state |= driver_state(value, f"{prefix}{name}.")
        elif isinstance(value, float | int | np.ndarray) and not isinstance(value, bool):
            state[prefix + name] = np.array(value)
    return state


def restore_driver_state(driver: Any, state: dict[str, np.ndarray]) -> None:
    """Put a state of `driver_state` into a new integrator. Raises ValueError if it is not the state of such a one."""
    missing = driver_state(driver).keys() - state.keys()
    if missing:
        raise ValueError(f"the checkpoint lacks {sorted(missing)[0]!r}, which this version of ASE needs for {driver!r}")
    for name, value in state.items():
        *parts, attribute = name.split(".")
        owner = driver
        for part in parts:
            owner = getattr(owner, part)
        setattr(owner, attribute, value.copy() if value.ndim else value.item())


def _is_part(value: Any) -> bool:
    return type(value).__module__.startswith(__package__) or type(value).__module__.startswith("ase.md.")
