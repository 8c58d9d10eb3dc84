"""Trajectories from what users have: the directory of a run, XYZ, ASE's own, dumps of LAMMPS, DCD, XTC and H5MD."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.data import atomic_numbers

from so3md.analysis.lammps_log import LammpsLog, read_lammps_log
from so3md.analysis.trajectory import Trajectory
from so3md.charge_and_spin import charge_and_spin_entries
from so3md.dynamics.degrees_of_freedom import conserved_directions, free_directions
from so3md.dynamics.outputs import read_log
from so3md.dynamics.record import LOG, RUN, START, read_record
from so3md.dynamics.trajectories import WITHOUT_ELEMENTS, trajectory_name
from so3md.structures.reading import read_frames

Say = Callable[[str], None]

_PER_PS = 1e3 * units.fs  # times a velocity of ASE: Angstrom/ps
_DUMP = "lammps-dump-text"
_LAMMPS_LOG = "log.lammps"
#: Relative, of times.
_ROUNDING = 1e-6


@dataclass
class _Frame:
    """What a file has of a frame; None for what it does not have. step: as LAMMPS counts."""

    positions: np.ndarray
    cell: np.ndarray
    time: float | None = None
    step: int | None = None
    velocities: np.ndarray | None = None
    charges: np.ndarray | None = None
    energy: float | None = None


@dataclass(frozen=True)
class Wanted:
    """What of a source is read, and what it does not say itself.

    structure: file with elements and masses, for formats without; elements: of the atom types of LAMMPS, in order;
    log: of the run; frame_interval: fs between frames of the file; begin: ps before which nothing counts; every: that
    many frames, one; format: ASE's name of the format.
    """

    structure: Path | None = None
    elements: Sequence[str] | None = None
    log: Path | None = None
    frame_interval: float | None = None
    begin: float = 0.0
    every: int = 1
    format: str | None = None


def read_trajectory(source: Path, wanted: Wanted, say: Say = lambda _: None) -> Trajectory:
    """A trajectory in memory. Raises FileNotFoundError or ValueError, naming the file and what to do."""
    path, log_path, structure = _files(source, wanted)
    columns, lammps, notes = _log_of(path, log_path)
    kind = _kind(path)
    if kind == "packed":
        example = _example(path, structure)
        frames = _packed_frames(path, len(example), wanted.every)
    else:
        first, _ = read_frames(path, 0, _DUMP if kind == _DUMP else wanted.format)
        example, frames = _with_elements(first[0], path, kind, wanted), _ase_frames(path, kind, wanted)
    collected: list[_Frame] = []
    for frame in frames:
        if frame.positions.shape != (len(example), 3):
            raise ValueError(
                f"{path}: expected {len(example)} atoms in each frame, found {len(frame.positions)} in frame "
                f"{len(collected)}; atoms that come and go are not for this analysis"
            )
        collected.append(frame)
        say(f"frame {len(collected)}")
    if not collected:
        raise ValueError(f"{path}: it has no frames")
    trajectory = _trajectory(source, example, collected, wanted, lammps)
    trajectory.log, trajectory.notes = columns, notes
    return _from(trajectory, wanted.begin)


def _files(source: Path, wanted: Wanted) -> tuple[Path, Path | None, Path | None]:
    """The trajectory, the log that was given or that the run has, and the structure."""
    log, structure = wanted.log, wanted.structure
    if source.is_dir():
        _refuse_replicas(source)
        path = _existing(source / trajectory_name(read_record(source)["trajectory_format"]))
        if log is None and (source / LOG).exists():
            log = source / LOG
        return path, log, structure or source / START
    path = _existing(source)
    if structure is None and (path.parent / RUN).exists():
        structure = path.parent / START
    return path, log, structure


def _refuse_replicas(directory: Path) -> None:
    """Raise ValueError for the directory of several runs, of which each is analysed alone."""
    runs = sorted(path.parent for path in directory.glob(f"*/{RUN}"))
    if runs and not (directory / RUN).exists():
        names = ", ".join(map(str, runs[:8])) + (", ..." if len(runs) > 8 else "")
        raise ValueError(f"{directory} holds several runs; give one of them: {names}")


def _existing(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    return path


def _kind(path: Path) -> str:
    if path.suffix.lstrip(".").lower() in (*WITHOUT_ELEMENTS, "h5"):
        return "packed"
    with path.open("rb") as file:
        return _DUMP if file.read(14) == b"ITEM: TIMESTEP" else "ase"


def _log_of(path: Path, log: Path | None) -> tuple[dict[str, np.ndarray] | None, LammpsLog | None, list[str]]:
    """The log, and lines for the reader: one that lies beside a dump may be another's, and is left out then."""
    if log is not None:
        return *_read_log(log), []
    if _kind(path) == _DUMP:
        for beside in (path.with_suffix(".log"), path.with_name(_LAMMPS_LOG)):
            if beside.is_file():
                try:
                    return *_read_log(beside), [f"With the log {beside}"]
                except ValueError as error:
                    return None, None, [f"Without the log beside the dump: {error}"]
    return None, None, []


def _read_log(path: Path) -> tuple[dict[str, np.ndarray], LammpsLog | None]:
    with _existing(path).open(encoding="utf-8", errors="replace") as file:
        ours = file.readline().startswith("step,time_ps")
    if ours:
        try:
            return read_log(path), None
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: damaged, it is not a table of numbers ({error})") from error
    lammps = read_lammps_log(path)
    return lammps.columns, lammps


def _example(path: Path, structure: Path | None) -> Atoms:
    if structure is None:
        raise ValueError(
            f"{path}: files of this format do not know elements; give a structure of the same atoms with --structure"
        )
    return read_frames(structure, -1)[0][0]


def _with_elements(atoms: Atoms, path: Path, kind: str, wanted: Wanted) -> Atoms:
    """The first frame, in which types of LAMMPS are elements."""
    if kind != _DUMP or "element" in _dump_columns(path):
        return atoms
    types = atoms.arrays.get("type")
    if types is None:
        raise ValueError(f"{path}: expected a column element or type in the dump, found neither")
    if wanted.elements is None:
        raise ValueError(
            f"{path}: the dump has no column element; give the elements of its {types.max()} types with --elements"
        )
    if types.min() < 1 or types.max() > len(wanted.elements):
        raise ValueError(f"{path}: expected elements of {types.max()} types, found {len(wanted.elements)}")
    unknown = [symbol for symbol in wanted.elements if symbol not in atomic_numbers]
    if unknown:
        raise ValueError(f"elements: expected symbols such as H and O, found {unknown[0]!r}")
    atoms.numbers = np.array([atomic_numbers[symbol] for symbol in wanted.elements])[types - 1]
    return atoms


def _dump_columns(path: Path) -> list[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("ITEM: ATOMS"):
                return line.split()[2:]
    return []


def _ase_frames(path: Path, kind: str, wanted: Wanted) -> Iterator[_Frame]:
    for atoms in _structures(path, _DUMP if kind == _DUMP else wanted.format, slice(None, None, wanted.every)):
        velocities = atoms.get_velocities() * _PER_PS if atoms.has("momenta") else None
        # ASE puts an energy of zero beside the forces of a dump.
        results = atoms.calc.results if atoms.calc is not None and kind != _DUMP else {}
        charges = results.get("charges")
        if charges is None and atoms.has("initial_charges"):
            charges = atoms.get_initial_charges()
        yield _Frame(
            atoms.positions.copy(),
            atoms.cell.array.copy(),
            atoms.info.get("time_ps"),
            atoms.info.get("timestep"),
            velocities,
            charges,
            results.get("energy"),
        )


def _structures(path: Path, format: str | None, index: slice) -> Iterator[Atoms]:
    """Frames one by one, as far as ASE's reader of the format gives them so."""
    from ase.io import iread

    count = 0
    try:
        for atoms in iread(path, index, format, do_not_split_by_at_sign=True):
            yield atoms
            count += 1
    except KeyError:  # symbols of isotopes, which our own reader knows
        if count:
            raise
        yield from read_frames(path, index, format)[0]
    except (OSError, MemoryError):
        raise
    except Exception as error:  # ASE's readers raise whatever their parsing trips over
        raise ValueError(f"{path}: frame {count * (index.step or 1)} could not be read ({error})") from error


def _packed_frames(path: Path, num_atoms: int, every: int) -> Iterator[_Frame]:
    from MDAnalysis.coordinates.core import reader
    from MDAnalysis.lib.mdamath import triclinic_vectors

    try:
        frames = reader(str(path), n_atoms=num_atoms)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: MDAnalysis could not read it ({error})") from error
    with frames:
        for step in frames[::every]:
            cell = np.zeros((3, 3)) if step.dimensions is None else triclinic_vectors(step.dimensions)
            yield _Frame(
                step.positions.astype(float),
                cell.astype(float),
                float(step.time),
                velocities=step.velocities.astype(float) if step.has_velocities else None,
            )


def _trajectory(
    source: Path, example: Atoms, frames: list[_Frame], wanted: Wanted, lammps: LammpsLog | None
) -> Trajectory:
    times = _times(frames, wanted, lammps)
    if times is not None:  # a run that went on may have a frame twice
        later = np.flatnonzero(np.diff(np.maximum.accumulate(times), prepend=-np.inf) > 0)
        frames, times = [frames[index] for index in later], times[later]
    moving = free_directions(example) - (len(conserved_directions(example)) if len(example) > 1 else 0)
    velocities = _stacked([frame.velocities for frame in frames])
    if velocities is not None and lammps is not None and lammps.units == "real":
        velocities = velocities * 1e3  # which were taken for Angstrom/ps
    return Trajectory(
        source=str(source),
        numbers=example.numbers.copy(),
        masses=example.get_masses(),
        pbc=example.pbc.copy(),
        positions=np.array([frame.positions for frame in frames]),
        cells=np.array([frame.cell for frame in frames]),
        times=times,
        velocities=velocities,
        charges=_stacked([frame.charges for frame in frames]),
        energies=_stacked([frame.energy for frame in frames]),
        degrees_of_freedom=max(moving, 0),
        info=charge_and_spin_entries(example),
    )


def _stacked(values: list[Any]) -> np.ndarray | None:
    """An array, if every frame has a value."""
    return None if any(value is None for value in values) else np.array(values, dtype=float)


def _times(frames: list[_Frame], wanted: Wanted, lammps: LammpsLog | None) -> np.ndarray | None:
    if wanted.frame_interval is not None:
        return 1e-3 * wanted.frame_interval * wanted.every * np.arange(len(frames))
    times = _stacked([frame.time for frame in frames])
    steps = _stacked([frame.step for frame in frames])
    if times is None and steps is not None and lammps is not None and lammps.time_step is not None:
        return steps * lammps.time_step
    return times


def _from(trajectory: Trajectory, begin: float) -> Trajectory:
    """The trajectory from a time (ps) on."""
    if begin <= 0:
        return trajectory
    if trajectory.times is None:
        raise ValueError("--begin needs times of frames; give the time between them with --frame-interval")
    first = begin * (1 - _ROUNDING)
    kept = trajectory.times >= first
    if not kept.any():
        raise ValueError(f"--begin {begin:g} ps: the last frame is at {trajectory.times[-1]:g} ps")
    for name in ("positions", "cells", "times", "velocities", "charges", "energies"):
        values = getattr(trajectory, name)
        setattr(trajectory, name, None if values is None else values[kept])
    if trajectory.log is not None and "time_ps" in trajectory.log:
        rows = trajectory.log["time_ps"] >= first
        trajectory.log = {name: values[rows] for name, values in trajectory.log.items()}
    return trajectory
