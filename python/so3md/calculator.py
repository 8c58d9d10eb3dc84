"""The ASE calculator."""

from __future__ import annotations

import copy
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import (
    Calculator,
    all_changes,
    all_properties,
    external_calculators,
    register_calculator_class,
)
from ase.outputs import Properties
from ase.stress import full_3x3_to_voigt_6_stress

from so3md.calculator_parameters import checked_parameter
from so3md.charge_and_spin import (
    ChargeAndSpin,
    OddElectronsWarning,
    charge_and_spin_of,
    check_charge_and_spin,
)
from so3md.committee import combined, identity_of_files, load_members, mean_of
from so3md.defined_properties import check_defined, volume_of
from so3md.devices import device_of_rank
from so3md.electric_field import checked_external, warn_of_periodic_field
from so3md.ignored_states import StateWatch
from so3md.loading import hyperparameters_of
from so3md.long_range import (
    OF_MODEL,
    LongRange,
    chosen_lengths,
    warn_of_charged_cell,
)
from so3md.long_range import describe as describe_long_range
from so3md.parallel import ALONE, MPITeam, Team, stop_all_on_errors
from so3md.parallel.agreement import Request, agree
from so3md.parallel.gather import Gatherer
from so3md.present import present
from so3md.velocities import born_charges, check_velocities, velocities_of

if TYPE_CHECKING:
    from mpi4py import MPI

    from so3md._engine import Engine, Model


#: Results that tell how far the others can be trusted (docs/uncertainty.md).
UNCERTAINTIES = ("uncertainty", "forces_uncertainty")

_CALCULATORS: weakref.WeakSet[So3kratesCalculator] = weakref.WeakSet()


class _Member(NamedTuple):
    """The engine of a model; with several ranks, what gathers its results."""

    engine: Engine
    gatherer: Gatherer | None


class _Evaluator(NamedTuple):
    """What evaluates each of the models for a long-range cutoff."""

    members: list[_Member]

    @property
    def engine(self) -> Engine:
        """That of the first model."""
        return self.members[0].engine


class So3kratesCalculator(Calculator):
    """Energies, forces, stress and charges from a So3krates model, for ASE.

    >>> from ase.build import molecule
    >>> from so3md import So3kratesCalculator
    >>> atoms = molecule("H2O")
    >>> atoms.calc = So3kratesCalculator("so3lr")
    >>> energy, forces, charges = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_charges()
    >>> forces.shape, bool(charges[0] < 0 < charges[1])
    ((3, 3), True)

    `set` takes these parameters too, and `todict` returns those that are not default.

    Parameters:
        model: name of a model that ships with so3md or has a name in SO3MD_MODEL_PATH, or path of a model file. A list
            of several: a committee, whose results are the means of its members'; they have the same elements, heads and
            long-range terms.
        charge: total charge (e), an integer. None: atoms.info["charge"] (or "total_charge"), else 0.
        spin: total spin S, half the number of unpaired electrons. None: atoms.info["spin"] (or "total_spin"), else 0.
        lr_cutoff: cutoff of electrostatics and dispersion (Angstrom). None: no cutoff, for molecules in vacuum.
            "model": what the model was made for, which may be one cutoff for periodic structures and another, or none,
            for those without a periodic direction (SO3LR: 12, and none).
        lr_damping: width over which dispersion is switched off before lr_cutoff (Angstrom); "model": the model's.
        coulomb: "cutoff": charges interact in pairs, up to lr_cutoff. "ewald": with all periodic images, without a
            cutoff, in structures that are periodic along all three directions; lr_cutoff is that of dispersion then.
            A charged structure is neutralised by a uniform background. See docs/electrostatics.md.
        ewald_accuracy: the error of forces (eV/Angstrom) that "ewald" may have in a system of charges of 1 e.
            None: less than that of the precision (1e-7 in "mixed", 1e-11 in "double").
        ewald_method: how "ewald" adds up images: "sum", over waves and atoms; "mesh", a particle mesh, whose time grows
            no faster than the number of atoms, not on GPUs; "auto": what takes less time.
        dispersion_tail: whether dispersion beyond lr_cutoff counts, as if atoms were spread evenly there, in structures
            that are periodic along all three directions: for liquids and crystals, see docs/electrostatics.md.
        electric_field: three components (V/Angstrom) of a uniform field in which the charges of the model are, at the
            positions as they are given, not wrapped; None: no field. See docs/electrostatics.md for what it means in
            periodic structures.
        precision: "mixed" (float network, double sums) or "double".
        threads: number of threads; None: OMP_NUM_THREADS, else all cores that this process may use (its affinity, and
            what its container grants), divided by the ranks that share them.
        device: "cpu", "cuda" for an NVIDIA GPU, or "cuda:1" for one by its number; see docs/gpu.md.

    comm, an mpi4py communicator such as MPI.COMM_WORLD, spreads each evaluation over its ranks, see docs/parallel.md.
    Making such a calculator, `calculate` (and so every getter, for a structure that has changed) and forget_neighbours
    are then collective: every rank calls them with the same structure, and gets all results. What one rank cannot
    evaluate, or ranks that give different structures or parameters, raise the same error on all. From then on, an
    exception that nothing catches on a rank ends the program on all of them (`so3md.parallel.stop_all_on_errors`).

    Properties: energy, free_energy (the same) and energies (eV), forces (eV/Angstrom), charges (e), hirshfeld_ratios
    and c6_ratios (1); stress (eV/Angstrom^3, Voigt order xx yy zz yz xz xy, ASE's sign: positive under tension) for
    structures that are periodic along at least one direction and have three cell vectors, with their volume; stresses
    (n, 6) of atoms, which add up to it: of each pair's virial half for either atom, the symmetric part, in the same
    unit and order, over the volume of the cell (a heat flux cannot be made of them); dipole (e Angstrom), the sum of
    charges times positions as they are given, about the origin of the coordinates, which matters only for charged
    structures. Of periodic ones only its changes along a path mean something, while molecules stay whole on it
    (docs/electrostatics.md). forces_uncertainty (n,), the error of each atom's force that is to be expected, and
    uncertainty, the largest of them (eV/Angstrom): of a committee, the deviation of its members (with forces, as these
    cost most), else of models whose file has what it takes, on CPUs (docs/uncertainty.md). Other cases raise
    PropertyNotImplementedError, as do charges of models that have none.

    The neighbour list is kept between calls and shared by all structures that this calculator serves, which may be
    any; only one of them is evaluated at a time, also when several threads ask. Copies (copy.deepcopy, pickle) and
    forked processes have an engine of their own. With comm, copy.deepcopy keeps it, pickle raises TypeError, and forked
    processes, which have no part in MPI, work alone.

    Raises FileNotFoundError or ValueError for parameters and structures that cannot be evaluated, with what was
    expected and what was found.
    """

    team: Team = ALONE  # the ranks of comm

    name = "so3krates"
    implemented_properties = [  # noqa: RUF012 - as ASE declares it
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
        "stresses",
        "charges",
        "dipole",
        "hirshfeld_ratios",
        "c6_ratios",
        *UNCERTAINTIES,
    ]
    default_parameters: dict[str, Any] = {  # noqa: RUF012 - as ASE declares it
        "model": "so3lr",
        "charge": None,
        "spin": None,
        "lr_cutoff": OF_MODEL,
        "lr_damping": OF_MODEL,
        "coulomb": "cutoff",
        "ewald_accuracy": None,
        "ewald_method": "auto",
        "dispersion_tail": False,
        "electric_field": None,
        "precision": "mixed",
        "threads": None,
        "device": "cpu",
    }

    def __init__(
        self,
        model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = "so3lr",
        charge: float | None = None,
        spin: float | None = None,
        lr_cutoff: float | str | None = OF_MODEL,
        lr_damping: float | str = OF_MODEL,
        precision: str = "mixed",
        threads: int | None = None,
        device: str = "cpu",
        comm: MPI.Intracomm | None = None,
        coulomb: str = "cutoff",
        ewald_accuracy: float | None = None,
        dispersion_tail: bool = False,
        electric_field: Sequence[float] | None = None,
        ewald_method: str = "auto",
    ) -> None:
        self._start_without_engine()
        if comm is not None:
            self.team = MPITeam(comm)
            stop_all_on_errors(self.team)
        super().__init__()
        parameters = {
            "model": model,
            "charge": charge,
            "spin": spin,
            "lr_cutoff": lr_cutoff,
            "lr_damping": lr_damping,
            "coulomb": coulomb,
            "ewald_accuracy": ewald_accuracy,
            "ewald_method": ewald_method,
            "dispersion_tail": dispersion_tail,
            "electric_field": electric_field,
            "precision": precision,
            "threads": threads,
            "device": device,
        }
        self.team.together(lambda: self._begin(parameters))

    def _begin(self, parameters: dict[str, Any]) -> None:
        self.set(**parameters)
        with self._lock:
            # So that a bad model is refused here and not at the first evaluation.
            self._evaluator(self._lengths(periodic=False))

    # --- parameters -------------------------------------------------------------------------------------------------

    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Change parameters; returns those that changed. Results are forgotten where they may have changed.

        Not collective: ranks that set different values are told so at the next evaluation.

        >>> So3kratesCalculator().set(precision="double")
        {'precision': 'double'}
        """
        unknown = sorted(kwargs.keys() - self.default_parameters.keys())
        if unknown:
            raise TypeError(
                f"unknown parameter {unknown[0]!r}; So3kratesCalculator knows {', '.join(self.default_parameters)}"
            )
        checked = {key: checked_parameter(key, value) for key, value in kwargs.items()}
        with self._lock:
            changed = super().set(**checked)
            if changed:
                self.reset()
            if changed.keys() - {"charge", "spin"}:
                self._forget_evaluators()
        return changed

    # --- copies, processes, threads ---------------------------------------------------------------------------------

    def _start_without_engine(self) -> None:
        self._forget_evaluators()
        self._lock = threading.RLock()  # reentrant, because ASE's methods call one another
        _CALCULATORS.add(self)

    def _forget_evaluators(self) -> None:
        self._models: list[Model] = []
        self._evaluators: dict[LongRange, _Evaluator] = {}
        self._last: LongRange | None = None  # of the last evaluation

    def __getstate__(self) -> dict[str, Any]:
        if self.team is not ALONE:
            raise TypeError(
                "a calculator with comm cannot be pickled: pickle the structure without it (atoms.calc = None), and "
                "make a new one where it is loaded"
            )
        return self._state_of_copies()

    def _state_of_copies(self) -> dict[str, Any]:
        own = ("team", "_models", "_evaluators", "_last", "_lock")
        return {key: value for key, value in self.__dict__.items() if key not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start_without_engine()

    def __copy__(self) -> So3kratesCalculator:
        result = type(self).__new__(type(self))
        result.__setstate__(self._state_of_copies())
        result.team = self.team
        return result

    def __deepcopy__(self, memo: dict[int, Any]) -> So3kratesCalculator:
        result = memo[id(self)] = type(self).__new__(type(self))
        result.__setstate__(copy.deepcopy(self._state_of_copies(), memo))
        result.team = self.team
        return result

    def _members(self) -> list[Model]:
        if not self._models:
            self._models = load_members(self.parameters["model"])
            self._watch = StateWatch(hyperparameters_of(self._models[0]))
            if self.team.size > 1:
                self._settings = self._identity_of_settings()
        return self._models

    def _own_model(self) -> Model:
        """The model; of several, the first, whose elements, cutoffs and terms are those of all."""
        return self._members()[0]

    def _lengths(self, periodic: bool) -> LongRange:
        """The long-range cutoff and damping for structures with, or without, a periodic direction."""
        parameters = self.parameters
        return chosen_lengths(self._own_model(), parameters["lr_cutoff"], parameters["lr_damping"], periodic)

    def _evaluator(self, lengths: LongRange) -> _Evaluator:
        """The engine for these lengths, made where there is none. The caller holds the lock."""
        from so3md import _engine

        if lengths not in self._evaluators:
            if self.team.size == 1:  # ranks must not differ in what their engines remember
                # One that was never used, such as that of a new calculator, is not worth its memory.
                self._evaluators = {key: value for key, value in self._evaluators.items() if _is_used(value)}
            parameters = self.parameters
            options = {
                "precision": parameters["precision"],
                "threads": parameters["threads"] or self.team.threads(),
                "lr_cutoff": lengths.cutoff,
                "lr_damping": lengths.damping,
                "coulomb": parameters["coulomb"],
                "ewald_accuracy": parameters["ewald_accuracy"],
                "ewald_method": parameters["ewald_method"],
                "dispersion_tail": parameters["dispersion_tail"],
                "electric_field": parameters["electric_field"] or (0.0, 0.0, 0.0),
                "device": device_of_rank(parameters["device"], self.team),
            }
            members = []
            for model in self._members():
                transport, gatherer = self._shared_work()
                members.append(_Member(_engine.Engine(model, **options, **transport), gatherer))
            self._evaluators[lengths] = _Evaluator(members)
        return self._evaluators[lengths]

    def _shared_work(self) -> tuple[dict[str, Any], Gatherer | None]:
        """What an engine needs beyond the parameters to be one of several."""
        if (team := self.team.several) is None:
            return {}, None
        from so3md.parallel.transport import MPITransport

        return {"transport": MPITransport(team.messages)}, Gatherer(team.messages)

    def forget_neighbours(self) -> None:
        """Have the next evaluation build its neighbour list anew, so that its rounding owes nothing to earlier ones."""
        with self._lock:
            if self._last is not None:
                last = self._evaluator(self._last)
                self._evaluators = {self._last: last}
                # The list is kept for one structure only: a lone atom takes the place of whatever it is of.
                # It has a cell where an Ewald sum or the tail of the dispersion needs one.
                cell, pbc = np.zeros((3, 3)), np.zeros(3, dtype=bool)
                if self._uses_ewald or self.counts_tail:
                    cell, pbc = 20.0 * np.eye(3), np.ones(3, dtype=bool)
                lone_atom = np.array(self._own_model().elements[:1]), np.zeros((1, 3)), cell, pbc
                self._evaluate_engine(last, *lone_atom, forces=False)

    def identity(self, atoms: Atoms) -> dict[str, Any]:
        """All that decides the results for a structure, the model by the checksum of its file.

        lr_cutoff and lr_damping are the lengths that it is evaluated with, also where they are the model's.

        >>> So3kratesCalculator().identity(Atoms("He"))["precision"]
        'mixed'
        """
        state = charge_and_spin_of(atoms, self.parameters["charge"], self.parameters["spin"])
        settings = self._identity_of_settings()
        return {
            **{key: settings.pop(key) for key in ("model", "model_checksum")},
            **state._asdict(),
            **settings,
            **self.long_range(atoms),
        }

    def long_range(self, atoms: Atoms) -> dict[str, float | None]:
        """The lengths lr_cutoff (None: none) and lr_damping with which a structure is evaluated, in Angstrom."""
        with self._lock:
            cutoff, damping = self._lengths(bool(atoms.pbc.any()))
        return {"lr_cutoff": cutoff, "lr_damping": damping}

    def long_range_text(self, atoms: Atoms) -> str:
        """The same in words, with whose choice it is; nothing for a model without long-range terms.

        >>> So3kratesCalculator().long_range_text(Atoms("He"))
        "long-range cutoff none (the model's for molecules)"
        """
        periodic = bool(atoms.pbc.any())
        with self._lock:
            return describe_long_range(self._own_model(), self._lengths(periodic), periodic, self.parameters["coulomb"])

    def _identity_of_settings(self) -> dict[str, Any]:
        field = self.parameters["electric_field"]
        return {
            **identity_of_files(self.parameters["model"]),
            **{
                key: self.parameters[key]
                for key in (
                    *("lr_cutoff", "lr_damping", "coulomb", "ewald_accuracy", "ewald_method", "dispersion_tail"),
                    "precision",
                )
            },
            "electric_field": None if field is None else list(field),  # as JSON has it
        }

    def cuts_charges(self, atoms: Atoms) -> bool:
        """Whether a cutoff ends the electrostatics of a structure, for which there is another choice."""
        with self._lock:
            charged = bool(hyperparameters_of(self._own_model()).get("electrostatics"))
        return charged and bool(atoms.pbc.all()) and not self._uses_ewald

    def has_dispersion_tail(self, atoms: Atoms) -> bool:
        """Whether get_dispersion_tail is there for a structure."""
        with self._lock:
            return bool(hyperparameters_of(self._own_model()).get("dispersion")) and bool(atoms.pbc.all())

    @property
    def counts_tail(self) -> bool:
        """Whether the energy has the dispersion beyond lr_cutoff."""
        return bool(self.parameters["dispersion_tail"])

    @property
    def _uses_ewald(self) -> bool:
        return self.parameters["coulomb"] == "ewald"

    def engine_info(self) -> dict[str, Any]:
        """What the engine says of itself: precision, threads, instruction set, table errors, counters.

        lr_cutoff and lr_damping are those of the last evaluation, whose engine this is; before the first one, those for
        molecules.

        With several ranks, of that of this rank; "halo" then holds what it has exchanged since it was made (exchanges,
        messages and bytes sent, sums over ranks, wait_seconds) and its numbers of atoms: n_owned, n_interior (of them,
        without neighbours elsewhere), n_near and n_far (of other ranks, within the short cutoff, or only within the
        long-range one).
        """
        with self._lock:
            lengths = self._last or self._lengths(periodic=False)
            own = {"lr_cutoff": lengths.cutoff, "lr_damping": lengths.damping}
            return self._evaluator(lengths).engine.info() | own

    # --- ASE's protocol ---------------------------------------------------------------------------------------------

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """A property of the structure, evaluated if it is not known yet; see the class for units and shapes."""
        with self._lock:
            if name != "dipole":
                return super().get_property(name, atoms, allow_calculation)
            charges = super().get_property("charges", atoms, allow_calculation)
            return None if charges is None else charges @ present(self.atoms).positions

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What differs from the structure of the last evaluation, charge and spin included.

        Any difference counts, whatever tol: this is called several times in each step, and exact comparison is quick.
        """
        last = self.atoms
        if last is None:
            return list(all_changes)
        changes = [key for key in ("positions", "numbers") if not _equal(last.arrays[key], atoms.arrays[key])]
        if not _equal(last.cell.array, atoms.cell.array):
            changes.append("cell")
        if not _equal(last.pbc, atoms.pbc):
            changes.append("pbc")
        state = charge_and_spin_of(atoms, self.parameters["charge"], self.parameters["spin"])
        changes += [key for key in state._fields if getattr(state, key) != getattr(self._state, key)]
        return changes

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Evaluate the structure; forces and stress only if they are asked for, since they double the cost and more.

        Asked for right after the energy of the same structure, they cost what the energy has left to do.
        """
        with self._lock:
            # Nothing is kept of a structure that turns out to be bad, so that it is refused the next time as well.
            wanted: Any = self.atoms if atoms is None else atoms  # None is refused with the rest
            request = self._agreed(lambda: self._prepare(wanted, properties, system_changes))
            self._evaluate(wanted, request)
            self.atoms, self._state = wanted.copy(), ChargeAndSpin(**request.state)

    def _agreed(self, prepare: Callable[[], Request]) -> Request:
        """What is asked for, which must be the same on all ranks."""
        return prepare() if self.team.several is None else agree(self.team.several, prepare)

    def _prepare(self, atoms: Atoms | None, properties: Sequence[str], system_changes: Sequence[str]) -> Request:
        """Check what is asked for, and put it together. Forgets the last results, if the properties are defined."""
        if atoms is None:
            raise ValueError("no structure to evaluate: pass one, as atoms")
        check_defined(properties, atoms)
        self.reset()
        return self._request(atoms, system_changes, properties)

    def _request(
        self,
        atoms: Atoms,
        system_changes: Sequence[str],
        properties: Sequence[str],
        velocities: np.ndarray | None = None,
    ) -> Request:
        """What the engine is asked for, of a structure that has been checked."""
        state = charge_and_spin_of(atoms, self.parameters["charge"], self.parameters["spin"])
        self._check_structure(atoms, state, system_changes)
        self._evaluator(self._lengths(bool(atoms.pbc.any())))
        if self.team.leads:
            self._watch.look_at([state])
        of_forces = {"forces", "stress", "stresses", *(UNCERTAINTIES if len(self._members()) > 1 else ())}
        return Request(
            settings=self._settings if self.team.size > 1 else {},
            state=state._asdict(),
            forces=not of_forces.isdisjoint(properties),
            stresses="stresses" in properties,
            numbers=atoms.numbers,
            cell=atoms.cell.array,
            pbc=atoms.pbc,
            positions=atoms.positions,
            velocities=velocities,
        )

    def _check_structure(self, atoms: Atoms, state: ChargeAndSpin, system_changes: Sequence[str]) -> None:
        if not {"numbers", *state._fields}.isdisjoint(system_changes):
            with warnings.catch_warnings():
                if not self.team.leads:  # one rank's warning is enough
                    warnings.simplefilter("ignore", OddElectronsWarning)
                check_charge_and_spin(int(atoms.numbers.sum()), state)
            if self.team.leads and self._uses_ewald:
                warn_of_charged_cell(state.charge, atoms.pbc)
            if self.team.leads:
                warn_of_periodic_field(self.parameters["electric_field"], atoms.pbc)

    def _evaluate(self, atoms: Atoms, request: Request) -> None:
        self._last = self._lengths(bool(request.pbc.any()))
        output = self._evaluate_engine(
            self._evaluator(self._last),
            request.numbers,
            request.positions,
            request.cell,
            request.pbc,
            **request.state,
            forces=request.forces,
            virials=request.stresses,
        )
        of_atoms = ("energies", "forces", "charges", "hirshfeld_ratios", "c6_ratios", "forces_uncertainty")
        results: dict[str, Any] = {key: output[key] for key in of_atoms if key in output}
        results["energy"] = results["free_energy"] = output["energy"]
        if "forces_uncertainty" in output:
            results["uncertainty"] = float(output["forces_uncertainty"].max(initial=0.0))
        if request.forces and (volume := volume_of(atoms)) is not None:
            results["stress"] = full_3x3_to_voigt_6_stress(output["virial"]) / volume
            if request.stresses:
                results["stresses"] = full_3x3_to_voigt_6_stress(output["virials"]) / volume
        if "charges" in output and not atoms.pbc.any():  # of periodic ones when it is asked for
            results["dipole"] = output["charges"] @ atoms.positions
        self.results = results
        self._energy_components: dict[str, float] = output["energy_components"]

    def _evaluate_engine(
        self, evaluator: _Evaluator, numbers: np.ndarray, *structure: Any, **options: Any
    ) -> dict[str, Any]:
        """The engine's results for the whole structure, on every rank; of several models, those of the committee."""
        outputs = [self._evaluate_member(member, numbers, *structure, **options) for member in evaluator.members]
        return outputs[0] if len(outputs) == 1 else combined(outputs, options["forces"])

    def _evaluate_member(self, member: _Member, numbers: np.ndarray, *structure: Any, **options: Any) -> dict[str, Any]:
        engine, gatherer = member
        part = self._on_all_ranks(lambda: engine.evaluate(numbers, *structure, **options))
        if gatherer is None or (team := self.team.several) is None:
            return part
        with team.inseparable():
            return gatherer.gather(len(numbers), part)

    def _on_all_ranks(self, evaluate: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What the engine gives each rank, or the same error on all."""
        if (team := self.team.several) is None:
            return evaluate()
        from so3md._engine import FailedElsewhere

        # The engine raises these on all ranks or on none.
        common = (ValueError, FailedElsewhere)
        try:
            with team.inseparable(*common):
                return evaluate()
        except common as error:
            team.raise_together(error, missing=FailedElsewhere)

    def export_properties(self) -> Properties:
        """The results that ASE has a name for."""
        return Properties({key: value for key, value in self.results.items() if key in all_properties})

    # --- what ASE has no name for -----------------------------------------------------------------------------------

    def get_hirshfeld_ratios(self, atoms: Atoms | None = None) -> np.ndarray:
        """Volume of each atom over that of the free atom, (n,).

        >>> So3kratesCalculator().get_hirshfeld_ratios(Atoms("OH", [(0, 0, 0), (0, 0, 0.97)], info={"spin": 0.5})).shape
        (2,)
        """
        return self.get_property("hirshfeld_ratios", atoms)

    def get_c6_ratios(self, atoms: Atoms | None = None) -> np.ndarray:
        """C6 of each atom over that of the free atom, (n,), of models that predict it: those of SO3LR-2.

        Raises PropertyNotImplementedError for others, whose C6 ratio is the square of the Hirshfeld ratio.
        """
        return self.get_property("c6_ratios", atoms)

    def get_energy_components(self, atoms: Atoms | None = None) -> dict[str, float]:
        """The terms of the energy (eV): nn, nn_noshift, zbl, electrostatics, dispersion.

        nn is the network with the atomic shifts, nn_noshift without them. electrostatics has the energy in an
        electric_field too.

        >>> from ase.build import molecule
        >>> atoms, calc = molecule("H2O"), So3kratesCalculator()
        >>> terms = calc.get_energy_components(atoms)
        >>> total = terms["nn"] + terms["zbl"] + terms["electrostatics"] + terms["dispersion"]
        >>> abs(total - calc.get_potential_energy(atoms)) < 1e-6
        True
        """
        with self._lock:
            self.get_property("energy", atoms)
            return dict(self._energy_components)

    def get_dispersion_tail(self, atoms: Atoms | None = None) -> float:
        """Energy (eV) of the dispersion beyond lr_cutoff, whether it is counted (dispersion_tail) or not.

        As if atoms were spread evenly there; docs/theory.md, section 13. Raises ValueError for structures that are not
        periodic along all three directions, and for models without dispersion.

        >>> from so3md.structures import read_structure
        >>> water = read_structure("water")
        >>> round(1000 * So3kratesCalculator().get_dispersion_tail(water) / len(water), 2)  # meV for each atom
        -0.11
        """
        from so3md._engine import dispersion_tail

        with self._lock:
            if not hyperparameters_of(self._own_model()).get("dispersion"):
                raise ValueError("dispersion_tail: this model has no dispersion")
            ratios = self.get_property("hirshfeld_ratios", atoms)
            of = present(self.atoms if atoms is None else atoms)
            lengths = self._lengths(bool(of.pbc.any()))
            return dispersion_tail(
                self._own_model(),
                *(of.numbers, ratios, of.cell.array, of.pbc),
                lr_cutoff=lengths.cutoff,
                lr_damping=lengths.damping,
                c6_ratios=self.results.get("c6_ratios"),
            )

    def get_heat_flux(self, atoms: Atoms, shifts: bool = True) -> np.ndarray:
        """Heat flux (3,) of the structure at its velocities: the sum of both get_heat_flux_parts."""
        parts = self.get_heat_flux_parts(atoms, shifts)
        return parts["convective"] + parts["potential"]

    def get_heat_flux_parts(self, atoms: Atoms, shifts: bool = True) -> dict[str, np.ndarray]:
        """The parts (3,) of the heat flux, in eV Angstrom per ASE's unit of time (times ase.units.fs: per fs).

        It is d/dt of the sum of r_i e_i over the energies e_i of the atoms, kinetic and potential, and not divided by
        the volume. "convective": sum of e_i v_i. "potential": what goes from atom to atom; docs/theory.md, section 10.

        shifts: whether e_i has the model's atomic shift, as `energies` do. Those of SO3LR are -164 eV for every atom;
        what they add to the flux carries no heat as long as molecules stay together, and much noise.

        Takes several times as long as a step in `mixed`, and always uses the CPU. With comm, collective. Results
        that the calculator keeps stay as they are. Raises ValueError for a structure without velocities, and for
        models of the architecture so3krates-2022, and with coulomb="ewald", dispersion_tail or electric_field.

        >>> from ase.build import molecule
        >>> atoms = molecule("H2O")
        >>> atoms.set_velocities([[0.01, 0, 0], [0, 0.02, 0], [0, 0, -0.02]])
        >>> So3kratesCalculator().get_heat_flux_parts(atoms, shifts=False)["potential"].shape
        (3,)
        """
        flux = self._sweep(atoms, velocities_of(atoms, "a heat flux"), lambda engine, *s: engine.heat_flux(*s, shifts))
        velocities = atoms.get_velocities()
        kinetic = 0.5 * atoms.get_masses() * (velocities**2).sum(axis=1)
        return {"convective": flux["convective"] + kinetic @ velocities, "potential": flux["potential"]}

    def get_embedded(self, atoms: Atoms, potentials: np.ndarray, fields: np.ndarray) -> dict[str, Any]:
        """Energy, forces (n, 3), charges (n,) and energies (n,) of the structure in an external potential.

        potentials: (n,) in V at the atoms. fields: (n, 3) in V/Angstrom, minus its gradients there, which must be those
        of the same potential, or forces are no derivatives. The model's charges are in it: the energy has the sum of
        charges times potentials, and forces have all its derivatives. `so3md.embedding` makes both of point charges.

        On the CPU. With comm, collective. Results that the calculator keeps stay as they are. Raises ValueError for
        arrays of other shapes or with numbers that are not finite, for models without charges, and on GPUs.

        >>> from ase.build import molecule
        >>> atoms, calc = molecule("H2O"), So3kratesCalculator()
        >>> found = calc.get_embedded(atoms, -0.1 * atoms.positions[:, 2], np.tile([0, 0, 0.1], (3, 1)))
        >>> by_field = So3kratesCalculator(electric_field=(0, 0, 0.1)).get_potential_energy(atoms)
        >>> bool(abs(found["energy"] - by_field) < 1e-6)
        True
        """
        with self._lock:
            request = self._agreed(lambda: self._prepare_embedded(atoms, potentials, fields))
            self._last = self._lengths(bool(request.pbc.any()))
            external = present(request.external)
            output = self._evaluate_engine(
                self._evaluator(self._last),
                request.numbers,
                *(request.positions, request.cell, request.pbc),
                **request.state,
                potentials=external[:, 0],
                fields=external[:, 1:],
            )
        return {key: output[key] for key in ("energy", "forces", "charges", "energies")}

    def _prepare_embedded(self, atoms: Atoms, potentials: np.ndarray, fields: np.ndarray) -> Request:
        external = checked_external(len(atoms), potentials, fields)
        return replace(self._request(atoms, self.check_state(atoms), properties=("forces",)), external=external)

    def get_polarization_current(self, atoms: Atoms) -> np.ndarray:
        """The current of polarization (3,) at the structure's velocities, e Angstrom per ASE's unit of time.

        Of a molecule it is d/dt of the dipole moment. In a periodic structure it is d/dt of the polarization times the
        volume, and does not depend on how atoms are wrapped: charges times velocities, and what flows between an atom
        that moves and those whose charges change (docs/theory.md, section 16). Its spectrum is that of infrared
        absorption; its integral over time is the change of the dipole.

        Takes several times as long as a step in `mixed`, and always uses the CPU. With comm, collective. Results
        that the calculator keeps stay as they are. How charges are summed, a field and dispersion_tail do not matter.
        Raises ValueError for a structure without velocities, for models without charges, and for models of the
        architecture so3krates-2022.

        >>> from ase.build import molecule
        >>> atoms = molecule("H2O")
        >>> atoms.set_velocities([[0.01, 0, 0], [0, 0.02, 0], [0, 0, -0.02]])
        >>> So3kratesCalculator().get_polarization_current(atoms).shape
        (3,)
        """
        return self._current(atoms, velocities_of(atoms, "a current of polarization"))

    def get_born_charges(self, atoms: Atoms) -> np.ndarray:
        """Born effective charges (n, 3, 3), e: the change of the dipole, along the second axis, by each position.

        Those of a molecule are the derivatives of its dipole, or atomic polar tensors. They add up to the total charge
        times the unit matrix. Takes 3 n evaluations of get_polarization_current: for molecules and small cells.

        >>> from ase.build import molecule
        >>> born = So3kratesCalculator().get_born_charges(molecule("H2O"))
        >>> bool(abs(born.sum(axis=0)).max() < 1e-6)
        True
        """
        return born_charges(len(atoms), lambda velocities: self._current(atoms, lambda: velocities))

    def _current(self, atoms: Atoms, velocities: Callable[[], np.ndarray]) -> np.ndarray:
        return np.asarray(self._sweep(atoms, velocities, lambda engine, *system: engine.polarization_current(*system)))

    def _sweep(self, atoms: Atoms, velocities: Callable[[], np.ndarray], run: Callable[..., Any]) -> Any:
        """run(engine, numbers, positions, cell, pbc, velocities, charge, spin) on all ranks, which agree on these."""
        with self._lock:
            request = self._agreed(lambda: self._prepare_sweep(atoms, velocities()))
            structure = request.numbers, request.positions, request.cell, request.pbc, np.asarray(request.velocities)
            charge, spin = request.state["charge"], request.state["spin"]
            self._last = self._lengths(bool(request.pbc.any()))
            found = [
                self._on_all_ranks(partial(run, member.engine, *structure, charge, spin))
                for member in self._evaluator(self._last).members
            ]
            return found[0] if len(found) == 1 else mean_of(found)

    def _prepare_sweep(self, atoms: Atoms, velocities: np.ndarray) -> Request:
        check_velocities(velocities)
        return self._request(atoms, self.check_state(atoms), properties=(), velocities=velocities)


def _is_used(evaluator: _Evaluator) -> bool:
    return bool(evaluator.engine.info()["evaluations"])


def _equal(first: np.ndarray, second: np.ndarray) -> bool:
    return first.tobytes() == second.tobytes()  # several times quicker than np.array_equal for a molecule


def _start_anew_after_a_fork() -> None:
    """In a child process: in the parent, another thread may hold the lock, with the engine half way through."""
    for calculator in list(_CALCULATORS):
        calculator._start_without_engine()
        calculator.team = ALONE


os.register_at_fork(after_in_child=_start_anew_after_a_fork)

# Lets ASE's own tools make the calculator again from its name and parameters, as stored in databases.
if So3kratesCalculator.name not in external_calculators:
    register_calculator_class(So3kratesCalculator.name, So3kratesCalculator)
