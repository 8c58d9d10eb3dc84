"""A distillation in a directory: frames, training and report of a student; each part goes on where it stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

import so3md
from so3md.calculator import So3kratesCalculator
from so3md.distillation import report as reports
from so3md.distillation.plan import Plan
from so3md.distillation.sampling import labelled, sample
from so3md.dynamics.outputs import frame_text
from so3md.loading import model_path
from so3md.model_file import ModelFile
from so3md.run_directory import DirectoryLock, read_json, refuse_other_run, remove, replace_file, write_json
from so3md.structures import read_structures
from so3md.student import REPORT
from so3md.training import run as student_training

RUN, STRUCTURES, TRAINING = "distill.json", "structures.xyz", "training"
_FRAMES = "frames-*.xyz"


class Distillation:
    """A student in the making, in a directory. Make it with `start` or `resume`; then `sample`, `training`, `finish`.

    Others are kept out of the directory until `close`, or the end of its use as a context manager.

    >>> from tempfile import TemporaryDirectory
    >>> from ase.build import molecule
    >>> from so3md.distillation import Distillation, Plan
    >>> plan = Plan(temperatures=(300,), frames=10, layers=1, features=8, epochs=1, threads=1)
    >>> folder = TemporaryDirectory()
    >>> place, output = f"{folder.name}/water", f"{folder.name}/water.safetensors"
    >>> with Distillation.start([molecule("H2O")], plan, place, output) as work:
    ...     done = work.sample()
    ...     with work.training() as run:
    ...         run.train()
    ...     report = work.finish()
    >>> report["errors"]["force_rms"] > 0
    True
    """

    def __init__(self, directory: Path, record: dict[str, Any], lock: DirectoryLock) -> None:
        self.directory, self.record, self._lock = directory, record, lock
        self.plan = Plan.of(record["plan"])
        self.output = Path(record["output"])
        # As the file has them, so that one that goes on has the same to the bit.
        self.structures = read_structures(directory / STRUCTURES)
        self.frames = self.plan.frames_of(self.structures)

    @classmethod
    def start(
        cls,
        structures: Sequence[Atoms],
        plan: Plan,
        directory: str | Path,
        output: str | Path,
        *,
        names: Sequence[str] = (),
        overwrite: bool = False,
    ) -> Distillation:
        """Begin in a directory that holds no other distillation, unless it is to be overwritten; output: where the
        student goes; names: what the structures are called in its report.

        Raises FileExistsError for a directory or an output that is there, LockedError if another process works in it,
        ValueError for structures that the teacher does not know.
        """
        directory, output = Path(directory), Path(output).absolute()
        _refuse(directory, output, overwrite)
        if not structures:
            raise ValueError("structures: expected at least one, found none")
        teacher = So3kratesCalculator(plan.teacher, threads=plan.threads)
        for atoms in structures:
            moving = atoms.copy()
            moving.calc = teacher
            moving.get_forces()  # what cannot be evaluated is refused while no file is there yet
        record = {
            "plan": plan.document(),
            "output": str(output),
            "teacher_checksum": _checksum(plan.teacher),
            "structures": list(names) or [atoms.get_chemical_formula() for atoms in structures],
            "so3md": so3md.__version__,
        }
        directory.mkdir(parents=True, exist_ok=True)
        lock = DirectoryLock(directory)
        try:
            _refuse(directory, output, overwrite)  # another process may have had the lock until now
            # In this order: what a power failure leaves has no record of another distillation.
            remove([directory / RUN, *(directory / TRAINING / name for name in student_training.FILES)])
            remove([*directory.glob(_FRAMES), directory / STRUCTURES])
            text = "".join(frame_text(atoms, {}, velocities=False) for atoms in structures)
            replace_file(directory / STRUCTURES, text.encode())
            write_json(directory / RUN, record)
            return cls(directory, record, lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def resume(cls, directory: str | Path) -> Distillation:
        """Go on with the distillation of a directory.

        Raises FileNotFoundError or ValueError if there is none or its record is damaged, CheckpointError if the
        teacher has changed, LockedError if another process works in the directory.
        """
        directory = Path(directory)
        record = _read_record(directory)
        lock = DirectoryLock(directory)
        try:
            result = cls(directory, record, lock)
            checksum = {"teacher_checksum": _checksum(result.plan.teacher)}
            refuse_other_run(directory / RUN, {"teacher_checksum": record["teacher_checksum"]}, checksum)
        except BaseException:
            lock.release()
            raise
        return result

    def close(self) -> None:
        """Let other processes work in the directory."""
        self._lock.release()

    def __enter__(self) -> Distillation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- frames -----------------------------------------------------------------------------------------------------

    @property
    def total_frames(self) -> int:
        """How many frames are taken in all."""
        return sum(self.frames) * len(self.plan.temperatures)

    def sample(
        self, on_frame: Callable[[int], None] = lambda _: None, should_stop: Callable[[], bool] = lambda: False
    ) -> bool:
        """Take the frames that are not there yet; on_frame is called with the number of those that are. Returns whether
        all are there: a stretch of dynamics that is stopped begins anew when the distillation goes on."""
        teacher = So3kratesCalculator(self.plan.teacher, threads=self.plan.threads)
        done = 0
        for number, atoms in enumerate(self.structures):
            for level, temperature in enumerate(self.plan.temperatures):
                path = self._frames_file(number, temperature)
                if path.exists():
                    on_frame(done + self.frames[number])
                else:
                    counter = _Counter(done, on_frame)
                    rng = np.random.default_rng([self.plan.seed, number, level])
                    frames = sample(atoms, teacher, temperature, self.frames[number], rng, counter.count, should_stop)
                    if frames is None:
                        return False
                    text = labelled(frames, atoms, self.plan.teacher, self.plan.threads)
                    replace_file(path, text.encode())
                done += self.frames[number]
        return True

    def _frames_file(self, number: int, temperature: float) -> Path:
        return self.directory / f"frames-{number}-{temperature:g}K.xyz"

    def _frames_files(self) -> list[Path]:
        return [
            self._frames_file(number, temperature)
            for number in range(len(self.structures))
            for temperature in self.plan.temperatures
        ]

    # --- training ---------------------------------------------------------------------------------------------------

    def training(self) -> student_training.Run:
        """The training of the student on the frames, which are all there, from its last checkpoint on."""
        directory = self.directory / TRAINING
        if (directory / student_training.RUN).exists():
            return self._resumed_training()
        files = self._frames_files()
        sizes = [len(atoms) for path in files for atoms in read_structures(path)]
        config = self.plan.config([path.name for path in files], sizes, self.output.stem)
        with reports.without_states():
            return student_training.Run.start(config, self.directory, directory)

    def _resumed_training(self) -> student_training.Run:
        with reports.without_states():
            return student_training.Run.resume(self.directory / TRAINING)

    def finish(self) -> dict[str, Any]:
        """Measure the student of a training that has ended, write its file with the report, and return the report."""
        trained = self.directory / TRAINING / student_training.MODEL
        with self._resumed_training() as run:
            parts = run.parts
        largest = max(self.structures, key=len)
        costs = {
            "teacher": reports.cost(self.plan.teacher, largest, self.plan.threads),
            "student": reports.cost(str(trained), largest, self.plan.threads),
            "atoms": len(largest),
        }
        result = {
            "teacher": self.plan.teacher if self.plan.teacher == model_path(self.plan.teacher).stem else "a model file",
            "teacher_checksum": self.record["teacher_checksum"],
            "structures": self.record["structures"],
            "temperatures": list(self.plan.temperatures),
            "frames": sum(map(len, parts.values())),
            "seed": self.plan.seed,
            "errors": reports.force_errors(str(trained), parts["test"], [*parts["train"], *parts["validation"]]),
            "cost": costs,
        }
        model = ModelFile.read(trained)
        teacher = ModelFile.read(model_path(self.plan.teacher))
        model.name = self.output.stem
        model.description = f"A student of {teacher.name}, for the inner steps of multiple time steps only"
        model.provenance = model.provenance | {REPORT: result}
        model.citation, model.license, model.license_text = teacher.citation, teacher.license, teacher.license_text
        model.write(self.output)
        return result


class _Counter:
    """Frames done so far."""

    def __init__(self, done: int, tell: Callable[[int], None]) -> None:
        self._done, self._tell = done, tell

    def count(self) -> None:
        self._done += 1
        self._tell(self._done)


def _checksum(teacher: str) -> str:
    return hashlib.sha256(model_path(teacher).read_bytes()).hexdigest()[:16]


def _refuse(directory: Path, output: Path, overwrite: bool) -> None:
    if output.is_dir():
        raise IsADirectoryError(f"{output} is a folder; give the name of a file as --output")
    if overwrite:
        return
    if output.exists():
        raise FileExistsError(f"{output} exists; choose another --output, or --overwrite")
    if (directory / RUN).exists():
        raise FileExistsError(
            f"{directory} holds a distillation already; go on with it (--resume {directory}), choose another --output, "
            "or --overwrite"
        )


def _read_record(directory: Path) -> dict[str, Any]:
    try:
        record = read_json(directory / RUN)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{directory} is not the directory of a distillation: it has no {RUN}") from None
    for key, kind in (("plan", dict), ("output", str), ("teacher_checksum", str), ("structures", list)):
        if not isinstance(record.get(key), kind):
            raise ValueError(f"{directory / RUN}: damaged, {key!r} is missing or wrong")
    try:
        Plan.of(record["plan"])
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"{directory / RUN}: damaged, or of another version: {error}") from error
    return record
