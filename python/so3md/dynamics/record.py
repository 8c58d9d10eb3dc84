"""The directory of a run: the names of its files, and run.json, which says what the run is and who worked on it."""

from __future__ import annotations

import platform
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

import so3md
from so3md.calculator import So3kratesCalculator
from so3md.calculator_parameters import checked_parameter
from so3md.dynamics.checkpoint import structure_identity
from so3md.dynamics.settings import STEPS, Settings
from so3md.dynamics.trajectories import FORMATS, trajectory_name
from so3md.run_directory import LOCK_FILE, DirectoryLock, previous_of, read_json, remove, write_json

RUN = "run.json"
CONFIG = "config.yaml"
LOG = "log.csv"
CHECKPOINT = "checkpoint.npz"
FINAL = "final.xyz"
BLOW_UP = "blow_up.xyz"
START = "start.xyz"
PLOT = "log.png"
UNCERTAIN = "uncertain.xyz"
TRAJECTORIES = tuple(trajectory_name(name) for name in FORMATS)
FILES = (
    CHECKPOINT,
    previous_of(Path(CHECKPOINT)).name,
    RUN,
    CONFIG,
    LOG,
    *TRAJECTORIES,
    START,
    FINAL,
    BLOW_UP,
    PLOT,
    UNCERTAIN,
)

#: Parameters of the calculator that were added, and what it did before.
_FORMER_CHOICES = {
    "coulomb": "cutoff",
    "ewald_accuracy": None,
    "ewald_method": "auto",
    "dispersion_tail": False,
    "electric_field": None,
}
#: Shipped model -> checksums of its former files, which held the same numbers.
_FORMER_FILES = {"so3lr": ("0af11d65167f9fd3",)}

_KEYS = {
    "identity": dict,
    "settings": dict,
    "calculator": dict,
    "trajectory_columns": dict,
    "notes": dict,
    "planned_steps": int,
    "sessions": list,
}


def new_record(
    atoms: Atoms,
    settings: Settings,
    trajectory_format: str,
    trajectory_columns: Mapping[str, bool],
    notes: Mapping[str, Any],
    student: Calculator | None = None,
) -> dict[str, Any]:
    """The contents of run.json for a run that begins with atoms and their calculator.

    "identity" holds all that decides the trajectory, "sessions" the stretches that were run, with their software.
    """
    identity = {"structure": structure_identity(atoms)} | settings.physics() | calculator_identity(atoms)
    return {
        "identity": identity | student_identity(atoms, student),
        "settings": {key: value for key, value in vars(settings).items() if value is not None},
        "calculator": calculator_parameters(atoms.calc),
        **({} if student is None else {"student": calculator_parameters(student)}),
        "trajectory_format": trajectory_format,
        "trajectory_columns": dict(trajectory_columns),
        "notes": dict(notes),
        "planned_steps": 0,
        "sessions": [],
    }


def read_record(directory: Path) -> dict[str, Any]:
    """The contents of run.json. Raises FileNotFoundError or ValueError if it is missing or damaged."""
    try:
        record = read_json(directory / RUN)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{directory} is not the directory of a run: it has no {RUN}") from None
    missing = sorted(_KEYS.keys() - record.keys())
    if missing:
        raise ValueError(f"{directory / RUN}: damaged, it lacks {missing[0]!r}")
    for key, kind in _KEYS.items():
        if type(record[key]) is not kind:
            found = type(record[key]).__name__
            raise ValueError(f"{directory / RUN}: damaged, {key!r} should be {kind.__name__} and is {found}")
    with _naming_record(directory):
        STEPS.checked("planned_steps", record["planned_steps"])
    columns = record["trajectory_columns"]
    if columns.keys() != {"velocities", "forces"} or not {type(value) for value in columns.values()} <= {bool}:
        raise ValueError(f"{directory / RUN}: damaged, 'trajectory_columns' should have velocities and forces")
    if not isinstance(record.get("student", {}), dict):
        raise ValueError(f"{directory / RUN}: damaged, 'student' should be dict")
    record.setdefault("trajectory_format", "xyz")  # as it was in so3md 0.1 before there were others
    if record["trajectory_format"] not in FORMATS:
        raise ValueError(f"{directory / RUN}: damaged, 'trajectory_format' should be one of {', '.join(FORMATS)}")
    return record


def has_final(directory: Path, step: int) -> bool:
    """Whether the last structure is that of a step. It is an older one, or missing, where a run was ended between its
    last checkpoint and this file."""
    try:
        with (directory / FINAL).open(encoding="utf-8") as file:
            return f"step={step}" in [file.readline() for _ in range(2)][1].split()
    except (OSError, UnicodeDecodeError):
        return False


def recorded_settings(directory: Path, record: Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> Settings:
    """The settings of a run, with changes. Raises ValueError if they cannot be those of a run."""
    unknown = sorted(record["settings"].keys() - {field.name for field in fields(Settings)})
    if unknown:
        raise ValueError(f"{directory / RUN}: damaged, or of another version: {unknown[0]!r} is not a setting")
    with _naming_record(directory):
        recorded = Settings(**record["settings"])
    return Settings(**(record["settings"] | dict(changes))) if changes else recorded


def recorded_parameters(
    directory: Path, record: Mapping[str, Any], replaced: Container[str] = (), of: str = "calculator"
) -> dict[str, Any]:
    """The parameters of the calculator of a run, or of its student, but for those that will be replaced. Raises
    ValueError for what the calculator of so3md does not take."""
    parameters = {key: value for key, value in record[of].items() if key != "name"}
    # The lengths with which it began, also where it was told none and another version had other defaults.
    prefix = "" if of == "calculator" else f"{of}_"
    # Another model, which what decides the trajectory refuses, may have no use for them.
    keys = () if "model" in replaced else ("lr_cutoff", "lr_damping")
    lengths = [key for key in keys if prefix + key in record["identity"]]
    parameters |= {key: record["identity"][prefix + key] for key in lengths}
    unknown = sorted(parameters.keys() - So3kratesCalculator.default_parameters.keys())
    if unknown:
        raise ValueError(f"{directory / RUN}: damaged, {of!r} cannot be made again (it has {unknown[0]!r})")
    with _naming_record(directory):
        return {key: checked_parameter(key, value) for key, value in parameters.items() if key not in replaced}


@contextmanager
def _naming_record(directory: Path) -> Iterator[None]:
    """Let an error for a value that stands in run.json name this file."""
    try:
        yield
    except (ValueError, TypeError, FileNotFoundError) as error:
        raise ValueError(f"{directory / RUN}: damaged, or of another version or machine: {error}") from error


def write_session(directory: Path, record: dict[str, Any], session: Mapping[str, Any]) -> dict[str, Any]:
    """Add to the record, and to run.json, what is being run here and now, and with what; returns the record.

    session: from_step and to_step, and the number of ranks.
    """
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    record["planned_steps"] = session["to_step"]
    record["sessions"].append({**session, "date": date} | _versions())
    write_json(directory / RUN, record)
    return record


def prepare_directory(directory: Path, overwrite: bool) -> DirectoryLock:
    """Make the directory, or check that it is empty; with overwrite, remove the files of an earlier run.

    Returns the lock on it. Raises FileExistsError if it has files, LockedError if another process works in it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _refuse_files(directory, overwrite)
    lock = DirectoryLock(directory)
    try:
        _refuse_files(directory, overwrite)  # another process may have had the lock until now
        # In this order: what a power failure leaves has no checkpoint of another run.
        remove([directory / name for name in FILES])
    except BaseException:
        lock.release()
        raise
    return lock


def _refuse_files(directory: Path, overwrite: bool) -> None:
    if not overwrite and any(path.name != LOCK_FILE for path in directory.iterdir()):
        raise FileExistsError(
            f"{directory} has files in it: choose another directory, resume the run that it holds, or allow overwriting"
        )


def calculator_parameters(calculator: Calculator) -> dict[str, Any]:
    """What the calculator can be made of again."""
    return {"name": calculator.name} | calculator.todict()


def calculator_identity(atoms: Atoms) -> dict[str, Any]:
    """All that decides the results of the calculator of atoms."""
    identity = getattr(atoms.calc, "identity", None)
    return calculator_parameters(atoms.calc) if identity is None else identity(atoms)


def student_identity(atoms: Atoms, student: Calculator | None) -> dict[str, Any]:
    """The same of the student, where there is one."""
    if student is None:
        return {}
    copy = atoms.copy()
    copy.calc = student
    return {f"student_{key}": value for key, value in calculator_identity(copy).items()}


def same_model(found: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    """The identity of a checkpoint, with the present checksum of a shipped model whose file has since changed in what
    it says of the model only, and with what was the only choice then, so that runs from before can go on."""
    found = {**{key: value for key, value in _FORMER_CHOICES.items() if key in present}, **found}
    name = str(found.get("model"))
    former = _FORMER_FILES.get(name, ()) if found.get("model") == present.get("model") else ()
    if found.get("model_checksum") in former:
        return {**found, "model_checksum": present.get("model_checksum")}
    return dict(found)


def _versions() -> dict[str, str]:
    return {
        "so3md": so3md.__version__,
        "ase": ase.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
