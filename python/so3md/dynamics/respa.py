"""Molecular dynamics in multiple time steps: a cheap student at the inner step, teacher minus student at the outer one.

r-RESPA (Tuckerman, Berne and Martyna 1992), docs/theory.md, section 12: half a step of the difference of forces, some
inner steps of the student, half a step of the difference. The teacher, which is the calculator of the structure, is
evaluated once for each outer step. What is sampled is the teacher's ensemble, up to an error of second order in the
outer step, however wrong the student is.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.constraints import FixAtoms, FixCartesian
from ase.md.bussi import Bussi
from ase.md.md import MolecularDynamics
from ase.md.verlet import VelocityVerlet

from so3md.charge_and_spin import OddElectronsWarning
from so3md.ignored_states import IgnoredStateWarning
from so3md.structure_checks import atom_name
from so3md.structures.constraints import fixed_directions
from so3md.student import ForceLimits, limits_of

#: Of liquid water, 4.6e-5 per bar, in A^3/eV.
WATER_COMPRESSIBILITY = 4.6e-5 / (1e5 * units.Pascal)


class StudentError(ValueError):
    """Student and teacher differ by more than can be integrated: the student does not know such structures."""


class MultipleTimeSteps:
    """What the integrators share: the student, the kicks by the difference of forces, and the guard of its size."""

    atoms: Atoms
    dt: float

    def _begin(self, student: Calculator, substeps: int, limits: ForceLimits | None) -> None:
        if substeps != int(substeps) or substeps < 1:
            raise ValueError(f"substeps {substeps!r}: expected a whole number of inner steps, at least 1")
        if student is self.atoms.calc:
            raise ValueError("student: expected another calculator than that of the structure, which is the teacher")
        self.student, self.substeps = student, int(substeps)
        self._knows_state = False
        self.limits = limits_of(student) if limits is None else limits

    @contextmanager
    def _by_student(self) -> Iterator[None]:
        """Let the student be the calculator of the structure."""
        teacher = self.atoms.calc
        self.atoms.calc = self.student
        try:
            yield
        finally:
            self.atoms.calc = teacher

    def difference(self) -> np.ndarray:
        """Forces of the teacher minus those of the student (n, 3), eV/A. Raises StudentError beyond the limits."""
        of_student = self._forces_of_student()
        difference = self.atoms.get_forces(md=True) - of_student
        self._guard(difference)
        return difference

    def _forces_of_student(self) -> np.ndarray:
        with warnings.catch_warnings() if not self._knows_state else nullcontext(), self._by_student():
            if not self._knows_state:  # a student need not know of charge and spin: it stands for a part of the forces
                for kind in (IgnoredStateWarning, OddElectronsWarning):
                    warnings.simplefilter("ignore", kind)
            forces = self.atoms.get_forces(md=True)
        self._knows_state = True
        return forces

    def _guard(self, difference: np.ndarray) -> None:
        squares = np.einsum("ij,ij->i", difference, difference)
        largest, rms = math.sqrt(squares.max(initial=0.0)), math.sqrt(squares.mean()) if len(squares) else 0.0
        limits = self.limits
        if not largest <= limits.largest:  # not so for nan
            atom = atom_name(self.atoms, int(np.argmax(squares)))
            what = f"by {largest:.3g} eV/A on {atom}, and at most {limits.largest:.3g} eV/A was expected"
        elif not rms <= limits.rms:
            what = f"by {rms:.3g} eV/A on average (rms), and at most {limits.rms:.3g} eV/A was expected"
        else:
            return
        raise StudentError(
            f"forces of student and teacher differ {what} ({limits.reason}): the student does not know such "
            "structures. Distil one from structures like these, or take a single time step"
        )

    def _outer_step(self, inner: Callable[[], None]) -> None:
        """One step of r-RESPA, the inner steps done with the student as the calculator (theory.md, section 12)."""
        self._kick()
        with self._by_student():
            inner()
        self._kick()

    def _kick(self) -> None:
        self.atoms.set_momenta(self.atoms.get_momenta() + 0.5 * self.dt * self.difference())

    def _verlet_steps(self) -> None:
        """The inner steps of velocity Verlet. ASE's integrator, which knows constraints."""
        verlet = VelocityVerlet(self.atoms, self.dt / self.substeps)
        forces = self.atoms.get_forces(md=True)
        for _ in range(self.substeps):
            forces = verlet.step(forces)


class RespaVerlet(MultipleTimeSteps, MolecularDynamics):
    """Multiple time steps at constant energy, for ASE.

    atoms have the teacher as their calculator. timestep: the outer step, in ASE's unit of time; student: a calculator
    that is cheap and close to the teacher, such as a model of `so3md distill`; substeps: the number of inner steps in
    an outer one; limits: how far both may be apart, by default what distillation found, see `so3md.student.limits_of`.
    Properties of atoms, such as the energy, are the teacher's. Other arguments are those of ASE's MolecularDynamics.

    Raises StudentError, a ValueError, at a step where student and teacher differ by more than the limits.

    >>> from ase import units
    >>> from ase.build import molecule
    >>> from so3md import So3kratesCalculator
    >>> from so3md.dynamics import RespaVerlet
    >>> atoms = molecule("H2O")
    >>> atoms.calc = So3kratesCalculator("so3lr")
    >>> student = So3kratesCalculator("so3lr", precision="double")  # for the example; a real one is cheaper
    >>> RespaVerlet(atoms, 2 * units.fs, student, substeps=4).run(2)
    True
    """

    def __init__(
        self,
        atoms: Atoms,
        timestep: float,
        student: Calculator,
        substeps: int,
        limits: ForceLimits | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(atoms, timestep, **kwargs)
        self._begin(student, substeps, limits)

    def step(self) -> None:
        """Move by one outer step."""
        self._outer_step(self._verlet_steps)


class RespaBussi(MultipleTimeSteps, Bussi):
    """Multiple time steps with stochastic velocity rescaling, for ASE: see `RespaVerlet` and ASE's Bussi.

    Velocities are rescaled once for each outer step.
    """

    def __init__(
        self,
        atoms: Atoms,
        timestep: float,
        temperature_K: float,
        taut: float,
        student: Calculator,
        substeps: int,
        limits: ForceLimits | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(atoms, timestep, temperature_K, taut, **kwargs)
        self._begin(student, substeps, limits)

    def step(self, forces: None = None) -> None:  # the argument is that of ASE's Bussi, of which this is one
        """Move by one outer step."""
        self.scale_velocities()
        self._outer_step(self._verlet_steps)


class RespaNPT(RespaBussi):
    """Multiple time steps at constant pressure, for ASE: `RespaBussi`, and a cell that changes its size.

    It does so by stochastic cell rescaling (Bernetti and Bussi 2020), once for each outer step. pressure_au in eV/A^3;
    taup, in ASE's unit of time: the time constant of the volume of a substance with this compressibility (A^3/eV).
    The structure is periodic and has no constraints.

    The pressure is that of the teacher before the step, and the cell changes after the first kick. So there is still
    one evaluation of the teacher for each outer step (docs/theory.md, section 12).

    Raises ValueError in a step that would change the volume by more than a fifth, and for constraints.
    """

    #: Of the logarithm of the volume in one step: beyond it, the stochastic equation is not integrated.
    LARGEST_CHANGE = 0.2

    def __init__(
        self,
        atoms: Atoms,
        timestep: float,
        temperature_K: float,
        taut: float,
        student: Calculator,
        substeps: int,
        pressure_au: float,
        taup: float,
        compressibility: float = WATER_COMPRESSIBILITY,
        limits: ForceLimits | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(atoms, timestep, temperature_K, taut, student, substeps, limits, **kwargs)
        self.pressure, self.compressibility, self.taup = pressure_au, compressibility, taup

    def step(self, forces: None = None) -> None:  # as of RespaBussi
        """Move by one outer step."""
        self.scale_velocities()
        change = self._change_of_volume()
        self._kick()
        self._rescale_cell(change)
        with self._by_student():
            self._verlet_steps()
        self._kick()

    def _change_of_volume(self) -> float:
        """The next change of the logarithm of the volume."""
        atoms = self.atoms
        if atoms.constraints:
            raise ValueError("constraints: all atoms follow the cell here; remove them, or fix the cell")
        volume = atoms.get_volume()
        internal = -atoms.get_stress()[:3].mean() + 2 * atoms.get_kinetic_energy() / (3 * volume)
        mobility = self.compressibility * self.dt / self.taup
        width = math.sqrt(2 * self.temp * mobility / volume)  # temp is an energy
        change = mobility * (internal - self.pressure) + width * self.rng.standard_normal()
        if not abs(change) <= self.LARGEST_CHANGE:
            raise ValueError(
                f"the barostat would change the volume by {100 * change:.3g} % in one step; relax the cell first, or "
                "take a longer taup"
            )
        return change

    def _rescale_cell(self, change: float) -> None:
        stretch = math.exp(change / 3)
        self.atoms.set_cell(self.atoms.cell * stretch, scale_atoms=True)
        self.atoms.set_momenta(self.atoms.get_momenta() / stretch)


class RespaLangevin(MultipleTimeSteps, MolecularDynamics):
    """Multiple time steps with Langevin's thermostat, for ASE: see `RespaVerlet`.

    The inner steps are those of BAOAB (Leimkuhler and Matthews 2013), so that each is thermostatted; with one of them
    in an outer step, the whole is BAOAB. friction in ASE's unit of 1/time; rng: what draws the random numbers.
    Raises ValueError, also in a step, for constraints other than fixed atoms and directions.
    """

    def __init__(
        self,
        atoms: Atoms,
        timestep: float,
        temperature_K: float,
        friction: float,
        student: Calculator,
        substeps: int,
        limits: ForceLimits | None = None,
        rng: np.random.Generator | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(atoms, timestep, **kwargs)
        self._begin(student, substeps, limits)
        _check_constraints(atoms)
        self.rng = np.random.default_rng() if rng is None else rng
        inner = self.dt / self.substeps
        self._kept = math.exp(-friction * inner)
        self._width = np.sqrt(-np.expm1(-2 * friction * inner) * units.kB * temperature_K * self.masses)

    def step(self) -> None:
        """Move by one outer step."""
        self._outer_step(self._baoab_steps)

    def _baoab_steps(self) -> None:
        atoms, half = self.atoms, 0.5 * self.dt / self.substeps
        _check_constraints(atoms)  # they may be changed between steps
        moving = np.logical_not(fixed_directions(atoms)).astype(float)
        noise = moving * self._width
        positions, momenta = atoms.get_positions(), atoms.get_momenta()
        forces = atoms.get_forces(md=True)
        for _ in range(self.substeps):
            momenta += half * moving * forces
            positions += half * momenta / self.masses
            momenta = self._kept * momenta + noise * self.rng.standard_normal(momenta.shape)
            positions += half * momenta / self.masses
            atoms.set_positions(positions, apply_constraint=False)
            forces = atoms.get_forces(md=True)
            momenta += half * moving * forces
        atoms.set_momenta(momenta, apply_constraint=False)


def _check_constraints(atoms: Atoms) -> None:
    for constraint in atoms.constraints:
        if not isinstance(constraint, FixAtoms | FixCartesian):
            raise ValueError(
                f"constraint {type(constraint).__name__}: Langevin dynamics in multiple time steps knows fixed "
                "atoms and directions only; take another thermostat, or a single time step"
            )
