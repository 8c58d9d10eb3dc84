"""The same run in ASE and in LAMMPS: how it begins, goes on, and what must hold of what it leaves. For long_runs.py.

Each run has two folders: `whole`, of the run that is left alone, and `parts`, of the one that is killed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
from ase.build import molecule
from ase.io import write
from long_run_processes import Watched, last_step, watch

from so3md.dynamics.checkpoint import Checkpoint

SO3MD = (sys.executable, "-m", "so3md")

#: Averages of two runs that differ by chance may differ by so many standard errors.
STANDARD_ERRORS = 5.0


@dataclass
class Host(ABC):
    """A run of some steps, with intervals of checkpoints, frames and rows in steps."""

    folder: Path
    structure: str
    steps: int
    options: Sequence[str]
    threads: int
    checkpoint: int
    frames: int
    rows: int

    name = ""

    @property
    def whole(self) -> Path:
        """Of the run that is left alone."""
        return self.folder / "whole"

    @property
    def parts(self) -> Path:
        """Of the run that is killed."""
        return self.folder / "parts"

    def arguments(self, directory: Path) -> list[str]:
        """Of `so3md md` and `so3md lammps`."""
        structure = self.structure
        if structure == "H2O":
            structure = "molecule.xyz"
            write(directory / structure, molecule("H2O"))
        intervals = {"checkpoint": self.checkpoint, "trajectory": self.frames, "log": self.rows}
        words = [word for name, steps in intervals.items() for word in (f"--{name}-interval", str(steps))]
        return [structure, *self.options, "--steps", str(self.steps), "--seed", "1", *words, "--output", "run"]

    def environment(self) -> dict[str, str]:
        """Of the programs."""
        paths = [str(Path(__file__).parents[1] / "python"), os.environ.get("PYTHONPATH", "")]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        python = os.pathsep.join(filter(None, paths))
        return os.environ | {"OMP_NUM_THREADS": str(self.threads), "PYTHONPATH": python, "PATH": path}

    @abstractmethod
    def begin(self, directory: Path, kill_at: int | None, delay: float) -> Watched:
        """From the first step."""

    @abstractmethod
    def go_on(self, directory: Path, step: int, kill_at: int | None, delay: float) -> Watched:
        """From the last checkpoint, which is of this step."""

    @abstractmethod
    def step_to_go_on_from(self, directory: Path) -> int | None:
        """The step of the last checkpoint; None if there is none."""

    @abstractmethod
    def ended(self, directory: Path) -> bool:
        """Whether all steps are done."""

    @abstractmethod
    def after_kill(self, directory: Path) -> dict[str, int]:
        """The step of the last checkpoint, and how many steps of the log come after it."""

    @abstractmethod
    def checks(self) -> dict[str, bool]:
        """What must hold of both runs at the end, in words."""

    @abstractmethod
    def files(self) -> dict[str, float]:
        """Bytes of a frame and of a row, at the beginning and at the end of the run that was left alone."""


class AseRun(Host):
    """`so3md md`."""

    name = "ASE"

    def begin(self, directory, kill_at, delay):
        command = [*SO3MD, "md", *self.arguments(directory), "--threads", str(self.threads), "--no-plot"]
        return self._watch(command, directory, kill_at, delay)

    def go_on(self, directory, step, kill_at, delay):
        command = [*SO3MD, "md", "--resume", "run", "--threads", str(self.threads), "--no-plot"]
        return self._watch(command, directory, kill_at, delay)

    def _watch(self, command: list[str], directory: Path, kill_at: int | None, delay: float) -> Watched:
        log = directory / "run" / "log.csv"
        return watch(command, directory, log, environment=self.environment(), kill_at=kill_at, delay=delay)

    def step_to_go_on_from(self, directory):
        file = directory / "run" / "checkpoint.npz"
        return Checkpoint.read(file).step if file.exists() else None

    def ended(self, directory):
        # A run that was stopped by a signal has final.xyz as well.
        return (directory / "run" / "final.xyz").exists() and self.step_to_go_on_from(directory) == self.steps

    def after_kill(self, directory):
        step = self.step_to_go_on_from(directory)
        return {"checkpoint": step, "lost_steps": last_step(directory / "run" / "log.csv") - step}

    def checks(self):
        one, other = self.whole / "run", self.parts / "run"
        rows, frames = (_steps_of(other / name) for name in ("log.csv", "trajectory.xyz"))
        leftover = [path.name for path in other.iterdir() if path.name.startswith(".")]
        return {
            "rows: none lost, none twice": rows == list(range(0, self.steps + 1, self.rows)),
            "frames: none lost, none twice": frames == list(range(0, self.steps + 1, self.frames)),
            "log, trajectory and last structure are those of the run that was left alone, to the bit": all(
                (one / name).read_bytes() == (other / name).read_bytes()
                for name in ("log.csv", "trajectory.xyz", "final.xyz")
            ),
            "the last checkpoint is, too": _same_arrays(one / "checkpoint.npz", other / "checkpoint.npz"),
            "nothing half written is left": not leftover,
        }

    def files(self):
        run = self.whole / "run"
        return {
            **_bytes_of_records("row", run / "log.csv", rb"(?m)^\d"),
            **_bytes_of_records("frame", run / "trajectory.xyz", rb"(?m)^\d+$"),
            "checkpoint": (run / "checkpoint.npz").stat().st_size,
            "files": len(list(run.iterdir())),
        }


def _same_arrays(one: Path, other: Path) -> bool:
    """All arrays but the document, which tells the sizes of files as well."""
    with np.load(one) as first, np.load(other) as second:
        return first.files == second.files and all(
            (first[key] == second[key]).all() for key in first.files if key != "document"
        )


def _steps_of(file: Path) -> list[int]:
    """The steps of the rows of a CSV file, or of the frames of an XYZ file."""
    pattern = rb"(?m)^(\d+)," if file.suffix == ".csv" else rb"\bstep=(\d+)\b"
    return [int(step) for step in re.findall(pattern, file.read_bytes())]


def _bytes_of_records(name: str, file: Path, begin: bytes) -> dict[str, float]:
    """Mean size of a record in the first and in the last tenth of a file, and the number of records."""
    starts = [match.start() for match in re.finditer(begin, file.read_bytes())]
    tenth = max(1, len(starts) // 10)
    return {
        f"{name}s": len(starts),
        f"first_{name}_bytes": (starts[tenth] - starts[0]) / tenth,
        f"last_{name}_bytes": (starts[-1] - starts[-1 - tenth]) / tenth,
    }


class LammpsRun(Host):
    """`so3md lammps` and `lmp`. Part k of the run that is killed is named runk; its files begin with that."""

    name = "LAMMPS"

    def environment(self):
        environment = super().environment()
        if not any(entry.value.startswith("so3md.") for entry in entry_points(group="lammps.plugins")):
            from so3md.lammps import plugin_directory

            environment["LAMMPS_PLUGIN_PATH"] = plugin_directory()
        return environment

    def begin(self, directory, kill_at, delay):
        if not (directory / "run").exists():
            command = [*SO3MD, "lammps", *self.arguments(directory)]
            subprocess.run(command, cwd=directory, env=self.environment(), check=True, stdout=subprocess.DEVNULL)
        return self._watch(directory, 1, [], kill_at, delay)

    def go_on(self, directory, step, kill_at, delay):
        restart = self._latest_restart(directory)
        words = ["-var", "restart", restart.name, "-var", "steps", str(self.steps - step)]
        return self._watch(directory, self._number_of_parts(directory) + 1, words, kill_at, delay)

    def _watch(self, directory: Path, part: int, words: list[str], kill_at: int | None, delay: float) -> Watched:
        run = directory / "run"
        command = ["lmp", "-in", "in.lammps", "-var", "name", f"run{part}", *words]
        log = run / f"run{part}.log"
        return watch(command, run, log, environment=self.environment(), kill_at=kill_at, delay=delay)

    def _number_of_parts(self, directory: Path) -> int:
        return len(list((directory / "run").glob("run*.log")))

    def _step_of_restart(self, restart: Path) -> int | None:
        """None for a file that was cut short."""
        words = ["lmp", "-log", "none", "-in", "/dev/stdin"]
        text = f'read_restart {restart.name}\nprint "STEP $(step)"\n'
        result = subprocess.run(
            words, cwd=restart.parent, env=self.environment(), input=text, capture_output=True, text=True, check=False
        )
        found = re.search(r"^STEP (\d+)$", result.stdout, re.MULTILINE)
        return int(found[1]) if found else None

    def _restarts(self, directory: Path) -> list[Path]:
        """Newest first."""
        files = (directory / "run").glob("run*.restart.[12]")
        return sorted(files, key=lambda file: file.stat().st_mtime_ns, reverse=True)

    def _latest_restart(self, directory: Path) -> Path:
        return next(file for file in self._restarts(directory) if self._step_of_restart(file) is not None)

    def step_to_go_on_from(self, directory):
        steps = map(self._step_of_restart, self._restarts(directory))
        return next((step for step in steps if step is not None), None)

    def ended(self, directory):
        return bool(list((directory / "run").glob("run*.data")))

    def after_kill(self, directory):
        step = self.step_to_go_on_from(directory) or 0
        log = directory / "run" / f"run{self._number_of_parts(directory)}.log"
        return {"checkpoint": step, "lost_steps": max(0, last_step(log) - step)}

    def checks(self):
        rows, agreement = _joined_rows(self.parts / "run")
        alone, _ = _joined_rows(self.whole / "run")
        frames = _joined_frames(self.parts / "run")
        steps = [int(row[0]) for row in rows]
        first = next((part[0][0] for part in _rows_of_parts(self.parts / "run")[1:]), self.steps)
        same = [row for row in rows if row[0] <= first], [row for row in alone if row[0] <= first]
        return {
            "rows: none lost, none twice": steps == list(range(0, self.steps + 1, self.rows)),
            "frames: none lost, none twice": frames == list(range(0, self.steps + 1, self.frames)),
            "up to the first restart, rows are those of the run that was left alone": same[0] == same[1],
            "at every restart, the energy is that of before": agreement,
            "means of temperature, energy and volume are those of the run that was left alone": _same_means(
                rows, alone
            ),
        }

    def files(self):
        run = self.whole / "run"
        return {
            **_bytes_of_records("row", run / "run1.log", rb"(?m)^ +\d+( +[-+.\deE]+)+ *$"),
            **_bytes_of_records("frame", run / "run1.lammpstrj", rb"(?m)^ITEM: TIMESTEP$"),
            "checkpoint": (run / "run1.restart").stat().st_size,
            "files": len(list(run.iterdir())),
        }


Row = tuple[float, ...]

#: Columns of the thermo output of `so3md lammps`.
TEMPERATURE, POTENTIAL, VOLUME = 2, 3, 7

#: What the energy of a box may differ by when it is evaluated again after a restart: rounding of `mixed`, eight digits.
SAME_ENERGY = 1e-3  # eV


def _rows_of_parts(run: Path) -> list[list[Row]]:
    """The rows of each part, by its number."""
    logs = sorted(run.glob("run*.log"), key=lambda log: int(log.stem[3:]))
    found = []
    for log in logs:
        lines = re.findall(
            r"^ +\d+(?: +[-+.\deE]+)+ *\n", log.read_text(encoding="utf-8", errors="replace"), re.MULTILINE
        )
        found.append([tuple(map(float, line.split())) for line in lines])
    return [rows for rows in found if rows]


def _joined_rows(run: Path) -> tuple[list[Row], bool]:
    """Rows of all parts, each up to where the next begins, and whether the two have the same energy there."""
    parts = _rows_of_parts(run)
    joined, agreement = list(parts[0]), True
    for part in parts[1:]:
        begin = part[0][0]
        before = [row for row in joined if row[0] == begin]
        agreement = agreement and len(before) == 1 and abs(before[0][POTENTIAL] - part[0][POTENTIAL]) < SAME_ENERGY
        joined = [row for row in joined if row[0] < begin] + part
    return joined, agreement


def _joined_frames(run: Path) -> list[int]:
    """Steps of the whole frames of all parts, each up to where the next begins."""
    joined: list[int] = []
    for file in sorted(run.glob("run*.lammpstrj"), key=lambda file: int(file.stem[3:])):
        frames = file.read_text(encoding="utf-8", errors="replace").split("ITEM: TIMESTEP\n")[1:]
        atoms = int(frames[0].split("ITEM: NUMBER OF ATOMS\n")[1].split("\n")[0]) if frames else 0
        lines_of_one = atoms + 8
        steps = [int(frame.split("\n")[0]) for frame in frames if frame.count("\n") == lines_of_one]
        joined = [step for step in joined if steps and step < steps[0]] + steps if steps else joined
    return joined


def _same_means(one: list[Row], other: list[Row]) -> bool:
    """The second halves of both runs."""
    for column in (TEMPERATURE, POTENTIAL, VOLUME):
        means = []
        for rows in (one, other):
            values = np.array([row[column] for row in rows])[len(rows) // 2 :]
            blocks = np.array([block.mean() for block in np.array_split(values, 5)])
            means.append((blocks.mean(), blocks.std(ddof=1) / np.sqrt(len(blocks))))
        (first, error), (second, other_error) = means
        if abs(first - second) > STANDARD_ERRORS * np.hypot(error, other_error):
            return False
    return True
