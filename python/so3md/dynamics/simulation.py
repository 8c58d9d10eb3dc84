"""A run of molecular dynamics in a directory of its own.

The directory holds run.json (what the run is), log.csv, trajectory.xyz (or in another format), checkpoint.npz (its last
safe state) and, once it has ended or was stopped, final.xyz.

Where the calculator works with several ranks (its comm), all of them hold the same run and do the same steps, and only
the first one reads and writes files; what fails there fails on all.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from so3md.dynamics import ensembles, outputs, record
from so3md.dynamics.checkpoint import Checkpoint, structure_identity
from so3md.dynamics.odd_states import OddStates
from so3md.dynamics.respa import MultipleTimeSteps
from so3md.dynamics.settings import STEPS, Settings
from so3md.dynamics.trajectories import WITHOUT_ELEMENTS, check_format, open_trajectory, trajectory_name
from so3md.dynamics.uncertain import UncertainStructures, looks_at_uncertainty, uncertainty_of
from so3md.parallel import team_of
from so3md.present import present
from so3md.run_directory import DirectoryLock, refuse_other_run, replace_file
from so3md.structures.hydrogen_mass import repartition

VELOCITIES = ("auto", "file", "draw")
#: Columns in which other programs write velocities, in units of their own; ASE reads momenta.
_OTHER_VELOCITIES = ("velo", "vel", "vels", "velocity", "velocities", "v")


class BlowUpError(RuntimeError):
    """The dynamics left all reason: an energy that is no number, too high a temperature, or impossible positions."""


class Simulation:
    """Molecular dynamics with any ASE calculator, that can be stopped and continued.

    Made by `start` for a new run and `resume` for one that goes on. Use as a context manager, or call `close`.
    atoms is the structure in motion, step the number of steps done so far. All but `close` is collective if the
    calculator has a comm.

    >>> from tempfile import TemporaryDirectory
    >>> from ase.build import molecule
    >>> from so3md import So3kratesCalculator
    >>> from so3md.dynamics import Settings, Simulation
    >>> atoms, folder = molecule("H2O"), TemporaryDirectory()
    >>> atoms.calc = So3kratesCalculator()
    >>> with Simulation.start(atoms, Settings(temperature=300), f"{folder.name}/run") as simulation:
    ...     simulation.run(10)
    True
    >>> with Simulation.resume(f"{folder.name}/run", So3kratesCalculator()) as simulation:
    ...     simulation.run(10), simulation.step
    (True, 20)
    """

    def __init__(
        self,
        atoms: Atoms,
        settings: Settings,
        directory: Path,
        rng: np.random.Generator,
        contents: dict[str, Any],
        lock: DirectoryLock | None,
        state: Checkpoint | None = None,
        student: Calculator | None = None,
    ) -> None:
        """For `start` and `resume`; contents are those of run.json, lock that of the directory, which the leader has.

        What fails here leaves the lock to the caller.
        """
        self.atoms, self.settings, self.directory = atoms, settings, directory
        self.team = team_of(atoms.calc)
        self.step = state.step if state else 0
        self.student = student
        self.driver = ensembles.make_driver(atoms, settings, rng, student)
        if state:
            ensembles.restore_driver_state(self.driver, state.driver)
        self.degrees_of_freedom = ensembles.degrees_of_freedom(atoms, settings)
        self._record, self._rng, self._lock = contents, rng, lock
        self._saved_step: int | None = self.step if state else None
        #: True from the beginning of a step until all of its output is written: in between, nothing can be saved.
        self._within_step = False
        self._odd_states = OddStates()
        #: What a run said when it stopped before its end without being told to; else None.
        self.stop_reason: str | None = None
        sizes: Mapping[str, int] = state.file_sizes if state else {}
        self._outputs = self.team.on_leader(lambda: self._open_outputs(sizes))

    def _open_outputs(self, positions: Mapping[str, int]) -> outputs.Outputs:
        kind, columns = self._record["trajectory_format"], self._record["trajectory_columns"]
        name = trajectory_name(kind)
        writer = open_trajectory(self.directory, kind, positions.get(name), self.atoms, self.settings, columns)
        kept = None
        if self.settings.uncertainty_threshold is not None:
            kept = UncertainStructures(self.directory, self.settings, positions)
        return outputs.Outputs(self.directory, positions, writer, name, kept)

    # --- beginning --------------------------------------------------------------------------------------------------

    @classmethod
    def start(
        cls,
        atoms: Atoms,
        settings: Settings,
        directory: str | Path,
        *,
        velocities: str = "auto",
        write_velocities: bool = False,
        write_forces: bool = False,
        trajectory_format: str = "xyz",
        overwrite: bool = False,
        notes: Mapping[str, Any] | None = None,
        student: Calculator | None = None,
    ) -> Simulation:
        """Begin a run of atoms, which have a calculator, in a directory that is new or empty.

        velocities: "file" keeps those of atoms, "draw" draws them from the Maxwell-Boltzmann distribution, "auto" does
        the first where there are some. Unless Langevin dynamics is to change it, the total momentum is made zero, which
        is a change of the frame of reference. hydrogen_mass of the settings changes the masses of atoms, and of the
        files. trajectory_format: one of `trajectories.FORMATS`. notes are kept in
        run.json under "notes". student: the calculator of the inner steps, where the settings have an outer_timestep.
        Writes the first row and frame, so that an output that cannot be written is noticed before the first step.
        Raises FileExistsError for a directory that has files (unless overwrite, which replaces those of a run),
        LockedError for one in which another process works, OSError if it cannot be written, ValueError for a structure
        or velocities that do not fit the settings.
        """
        directory = Path(directory)
        rng = np.random.default_rng(settings.seed)
        team = team_of(atoms.calc)
        columns = {"velocities": write_velocities, "forces": write_forces}
        check_format(trajectory_format, columns)
        contents = record.new_record(atoms, settings, trajectory_format, columns, notes or {}, student)
        if settings.hydrogen_mass is not None:
            repartition(atoms, settings.hydrogen_mass)
        set_velocities(atoms, settings, velocities, rng)
        ensembles.warn_of_constraints(atoms)
        # What cannot be run is refused while no file is there yet.
        driver = ensembles.make_driver(atoms, settings, rng, student)
        atoms.get_forces()
        if looks_at_uncertainty(settings):
            uncertainty_of(atoms)
        if isinstance(driver, MultipleTimeSteps):
            driver.difference()
        lock = team.on_leader(lambda: record.prepare_directory(directory, overwrite))
        with _released_on_error(lock):
            run = cls(atoms, settings, directory, rng, contents, lock, student=student)
            try:
                team.on_leader(run._write_start)
                run._saved_step = run.step
            except BaseException:
                run.close()
                raise
        return run

    @classmethod
    def resume(
        cls,
        directory: str | Path,
        calculator: Calculator,
        *,
        settings: Settings | None = None,
        structure: Atoms | None = None,
        student: Calculator | None = None,
    ) -> Simulation:
        """Go on with the run in a directory, from its checkpoint.

        The calculator must be the one of the run (its model, charge, spin, precision and cutoffs), and so must the
        student, where it has one. settings: those of
        the run, possibly with other intervals (default: its own); structure: the one that the run began with, if that
        is to be checked. With the same machine, number of threads and interval of checkpoints, the run goes on to the
        bit as it would have done without a stop at a checkpoint.
        Where the last checkpoint is damaged, the run goes on from the one before, with a warning; where log or
        trajectory have lost their end, after their last whole row and frame, with a warning.
        Raises CheckpointError, naming the differences, if the checkpoint belongs to another run or both are damaged;
        FileNotFoundError if there is none; LockedError if another process works in the directory.
        """
        directory = Path(directory)
        team = team_of(calculator)
        team.from_leader(lambda: record.read_record(directory))  # that it is the directory of a run
        lock = team.on_leader(lambda: DirectoryLock(directory))
        with _released_on_error(lock):
            return cls._resume_locked(directory, calculator, settings, structure, lock, student)

    @classmethod
    def _resume_locked(
        cls,
        directory: Path,
        calculator: Calculator,
        settings: Settings | None,
        structure: Atoms | None,
        lock: DirectoryLock | None,
        student: Calculator | None,
    ) -> Simulation:
        team = team_of(calculator)
        contents = team.from_leader(lambda: record.read_record(directory))
        path = directory / record.CHECKPOINT
        state = team.from_leader(lambda: Checkpoint.read_latest(path))
        before = record.recorded_settings(directory, contents)
        settings = settings or before
        check_format(contents["trajectory_format"], contents["trajectory_columns"])
        if contents["trajectory_format"] == "dcd" and settings.trajectory_interval != before.trajectory_interval:
            raise ValueError(
                f"trajectory_interval {settings.trajectory_interval}: a DCD file has one interval from its beginning, "
                f"here {before.trajectory_interval}; leave it as it is"
            )
        atoms = state.atoms
        atoms.calc = calculator
        expected = contents["identity"] | settings.physics() | record.calculator_identity(atoms)
        expected |= record.student_identity(atoms, student)
        if structure is not None:
            expected["structure"] = structure_identity(structure)
        refuse_other_run(path, record.same_model(state.identity, expected), expected)
        return cls(atoms, settings, directory, state.random_numbers(path), contents, lock, state, student)

    # --- running ----------------------------------------------------------------------------------------------------

    @property
    def trajectory(self) -> Path:
        """The file of the trajectory."""
        return self.directory / trajectory_name(self._record["trajectory_format"])

    @property
    def planned_steps(self) -> int:
        """The step at which the run is meant to end."""
        return self._record["planned_steps"]

    def run(
        self,
        steps: int,
        should_stop: Callable[[], bool] = lambda: False,
        on_step: Callable[[Simulation], None] = lambda _: None,
    ) -> bool:
        """Do steps more, calling on_step after each; whenever should_stop is true, stop after a whole step.

        Of several ranks, all stop when should_stop is true on one of them.
        All is saved at the end, however it comes. Returns whether all the steps were done; where stop_uncertainty of
        the settings ended it, stop_reason says so. Raises BlowUpError if the dynamics fails, with the structure of that
        step in blow_up.xyz and the checkpoint before it intact.
        """
        last = self.step + STEPS.checked("steps", steps)
        self.stop_reason = None
        session = {"from_step": self.step, "to_step": last, "ranks": self.team.size}
        self._record = self.team.from_leader(lambda: record.write_session(self.directory, self._record, session))
        try:
            while self.step < last and not self.stop_reason and not self.team.highest(should_stop()):
                self._advance()
                on_step(self)
        except BlowUpError:
            raise
        except BaseException:
            # Not collective: this may be one rank's error.
            if self.team.leads and not self._within_step and self._saved_step != self.step:
                with contextlib.suppress(OSError):  # a full disk, say: the first error is the one to report
                    self._save()
            raise
        self.save()
        self._write_structure(record.FINAL, self.step)
        return self.step == last

    def _advance(self) -> None:
        step = self.step + 1
        self._within_step = True  # positions and momenta belong to different times
        try:
            self.driver.step()
            reason = self._reason_to_give_up()
        except ValueError as error:  # the engine refuses the positions
            reason = str(error)
        if reason:
            self._give_up(step, reason)
        self.step = self.driver.nsteps = step
        if self.team.leads:
            self._odd_states.look_at_forces(self.atoms, step)
        self._write_due()
        if looks_at_uncertainty(self.settings):
            self._look_at_uncertainty()
        self._within_step = False
        self._save_due()

    def _look_at_uncertainty(self) -> None:
        largest, of_atoms = uncertainty_of(self.atoms)
        threshold, limit = self.settings.uncertainty_threshold, self.settings.stop_uncertainty
        if threshold is not None and largest > threshold:
            kept = present(self._outputs).uncertain if self.team.leads else None
            self.team.on_leader(lambda: present(kept).write(self.atoms, self.step, largest, of_atoms))
        if limit is not None and largest > limit:
            atom = int(of_atoms.argmax())
            self.stop_reason = (
                f"the uncertainty of the force on atom {atom} ({self.atoms.symbols[atom]}) is {largest:.3g}, above the "
                f"limit of {limit:g}"
            )

    def _reason_to_give_up(self) -> str | None:
        kinetic = self.atoms.get_kinetic_energy()
        if not math.isfinite(self.atoms.get_potential_energy() + kinetic):
            return "the energy is not a number"
        temperature = outputs.temperature(kinetic, self.degrees_of_freedom)
        limit = self.settings.temperature_limit
        if temperature > limit:
            return f"the temperature is {temperature:.4g} K, above the limit of {limit:g} K"
        return None

    def _give_up(self, step: int, reason: str) -> NoReturn:
        self._write_structure(record.BLOW_UP, step)
        raise BlowUpError(
            f"the dynamics failed at step {step}: {reason}. The structure is in {self.directory / record.BLOW_UP}, and "
            f"the checkpoint is of step {self._saved_step}. A shorter time step, or relaxing first, may help"
        )

    def _write_due(self) -> None:
        settings = self.settings
        frame_due = self.step % settings.trajectory_interval == 0
        row_due = self.step % settings.log_interval == 0
        if frame_due or row_due:
            self.team.on_leader(lambda: self._write_output(row_due, frame_due))

    def _save_due(self) -> None:
        if self.step % self.settings.checkpoint_interval == 0:
            self.save()
            self._forget_history()

    def _write_output(self, row: bool, frame: bool) -> None:
        self._odd_states.look_at_distances(self.atoms, self.step)
        present(self._outputs).write(self.observe(), self.atoms, row, frame)

    def _write_start(self) -> None:
        self._odd_states.look_at_forces(self.atoms, self.step)
        if self._record["trajectory_format"] in WITHOUT_ELEMENTS:
            text = outputs.frame_text(self.atoms, {"step": self.step}, velocities=False, all_constraints=True)
            replace_file(self.directory / record.START, text.encode())
        self._write_output(row=True, frame=True)
        self._save()

    def observe(self) -> outputs.Observation:
        """Temperature, energies and so on of the present step; not collective."""
        return outputs.observe(self.driver, self.step, self.degrees_of_freedom)

    def save(self) -> None:
        """Write the checkpoint, if it is not of this step already."""
        if self._saved_step != self.step:
            self.team.on_leader(self._save)
            self._saved_step = self.step

    def _save(self) -> None:
        state = Checkpoint(
            step=self.step,
            atoms=self.atoms,
            driver=ensembles.driver_state(self.driver),
            rng=dict(self._rng.bit_generator.state),
            identity=self._record["identity"],
            file_sizes=present(self._outputs).sync(),  # first, so that a checkpoint never tells of what is not on disk
        )
        state.write(self.directory / record.CHECKPOINT)

    def _write_structure(self, name: str, step: int) -> None:
        """The present structure in a file of its own, with velocities."""

        def write() -> None:
            text = outputs.frame_text(self.atoms, {"step": step}, velocities=True, all_constraints=True)
            replace_file(self.directory / name, text.encode())

        self.team.on_leader(write)

    def _forget_history(self) -> None:
        """Make the calculator forget what it has seen, so that this run goes on to the bit like one that is resumed."""
        for calculator in (self.atoms.calc, self.student):
            if calculator is None:
                continue
            calculator.reset()
            if hasattr(calculator, "forget_neighbours"):
                calculator.forget_neighbours()
        self.atoms.get_forces()  # of use for the next step; until then, only the leader may ask for the energy

    # --- end --------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the files, and let other processes work in the directory."""
        if self._outputs:
            self._outputs.close()
        if self._lock:
            self._lock.release()

    def __enter__(self) -> Simulation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def _released_on_error(lock: DirectoryLock | None) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if lock:
            lock.release()
        raise


def set_velocities(atoms: Atoms, settings: Settings, mode: str, rng: np.random.Generator) -> None:
    """Give atoms their velocities at the start of a run, see `Simulation.start`."""
    if mode not in VELOCITIES:
        raise ValueError(f"velocities {mode!r}: expected one of {', '.join(VELOCITIES)}")
    present = has_velocities(atoms)
    if mode == "file" and not present:
        raise ValueError(f"velocities 'file': the structure has none; {unused_velocities(atoms) or 'draw them'}")
    if mode == "draw" or not present:
        if mode != "draw" and (reason := unused_velocities(atoms)):
            warnings.warn(f"velocities are drawn: {reason}", stacklevel=2)
        ensembles.draw_velocities(atoms, settings, rng)
    else:
        ensembles.keep_velocities(atoms, settings)


def has_velocities(atoms: Atoms) -> bool:
    """Whether a structure comes with velocities that are not all zero."""
    if not atoms.has("momenta"):
        return False
    if not np.isfinite(atoms.get_momenta()).all():
        raise ValueError("velocities of the structure: one is not a finite number; correct it, or draw new ones")
    return bool(np.any(atoms.get_momenta()))


def unused_velocities(atoms: Atoms) -> str | None:
    """What to tell of velocities that a structure has without momenta, under a name that says nothing of their unit."""
    name = next((name for name in _OTHER_VELOCITIES if name in atoms.arrays), None)
    if name is None or atoms.has("momenta"):
        return None
    return (
        f"the structure has a column {name!r}, whose unit its file does not say, and no momenta; in Python, "
        "atoms.set_velocities takes them in A times ase.units.fs**-1"
    )
