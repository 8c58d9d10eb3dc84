"""A training run: its directory, its start and its going on, and the model file that it leaves."""

from __future__ import annotations

import copy
import io
import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import torch

import so3md
from so3md.model_file import ModelFile
from so3md.present import present
from so3md.run_directory import (
    CheckpointError,
    DirectoryLock,
    previous_of,
    read_json,
    refuse_other_run,
    remove,
    replace_file,
    write_json,
)
from so3md.training.batches import Item, LazyItems, join, make_items
from so3md.training.checkpoint import TrainingCheckpoint
from so3md.training.checks import check_loss
from so3md.training.config import Config
from so3md.training.data import checksum
from so3md.training.label_checks import check_labels
from so3md.training.log import Log
from so3md.training.model import TrainableModel, make_model
from so3md.training.processes import ALONE, TrainingTeam
from so3md.training.sample import Parts, Sample
from so3md.training.schema import ConfigError, build
from so3md.training.splits import read_data
from so3md.training.start import check_low_rank, start_from, start_new
from so3md.training.threads import MOST, choose_threads
from so3md.training.trainer import NotFiniteError, Trainer, Validation

RUN, LOG, SUMMARY = "run.json", "log.csv", "summary.json"
START, CHECKPOINT, MODEL = "start.safetensors", "checkpoint.safetensors", "model.safetensors"
BAD_STRUCTURES, CURVE, PARITY = "bad_structures.xyz", "learning_curve.png", "parity.png"
PREVIOUS = previous_of(Path(CHECKPOINT)).name
# In this order: what a power failure leaves when they are removed has no checkpoint of another run.
FILES = (CHECKPOINT, PREVIOUS, RUN, START, LOG, MODEL, BAD_STRUCTURES, SUMMARY, CURVE, PARITY)

#: A checkpoint is written with the first validation after this time, and at the end (s).
_CHECKPOINT_EVERY = 30.0


class Run:
    """A training in a directory. Make it with `start` or `resume`, then call `train`.

    Other processes are kept out of the directory until `train` ends, or if it is used as a context manager, until then.
    Those of a team, which share the training, call everything together; the first one writes.

    >>> from pathlib import Path
    >>> from so3md.training.config import Config, DataConfig, Split, TrainingConfig
    >>> from so3md.training.run import Run
    >>> config = Config(
    ...     data=DataConfig(files="ethanol", split=Split(train=4, validation=2)),
    ...     model={"num_features": 12, "num_heads": 2, "num_layers": 1, "degrees": [1]},
    ...     training=TrainingConfig(epochs=1, batch_size=2),
    ...     threads=1,
    ... )
    >>> run = Run.start(config, Path("."), Path("ethanol"))
    >>> run.train()
    >>> (run.directory / "model.safetensors").is_file()
    True
    """

    def __init__(
        self,
        directory: Path,
        record: dict[str, Any],
        start: ModelFile,
        parts: Parts,
        team: TrainingTeam = ALONE,
    ) -> None:
        self.directory, self.record, self.parts, self.team = directory, record, parts, team
        self._lock: DirectoryLock | None = None
        self._is_context = False
        self.log: Log | None = None
        self.config = build(Config, record["config"])
        self.device = team.use(self.config.device)
        self._start = start
        self.model = make_model(start).to(self.device, _dtype(self.config))
        items = team.together(lambda: {name: self._items(parts[name]) for name in ("train", "validation")})
        self.trainer = Trainer(self.model, items["train"], items["validation"], self.config, team)
        self._threads_before: int | None = torch.get_num_threads()
        self.model.use_threads(self.threads)
        self._saved_at = 0.0

    @property
    def threads(self) -> int:
        """Threads of each process: those of the configuration; else, of several processes, a share of the
        cores, and of one those that were measured to be best at the start."""
        if self.team.size > 1:
            return self.config.threads or self.team.threads()
        return self.config.threads or self.record.get("threads") or MOST

    def _measure_threads(self) -> None:
        """Find and record how many threads to use, where nothing says it."""
        if self.config.threads is None and self.device.type == "cpu" and self.team.size == 1:
            self.record["threads"] = choose_threads(self.trainer)
            self.model.use_threads(self.threads)

    @classmethod
    def start(
        cls,
        config: Config,
        data_directory: Path,
        directory: Path,
        *,
        model: ModelFile | None = None,
        overwrite: bool = False,
        on_data: Callable[[Parts], None] = lambda _: None,
        team: TrainingTeam = ALONE,
    ) -> Run:
        """A new run in a directory, of a new model or of one to go on with. data_directory: where relative paths begin;
        on_data is called with the structures once they are read; team: the processes that share the training.

        Raises FileExistsError if the directory holds a run, unless it is to be overwritten; LockedError if another
        process works in it.
        """
        check_low_rank(config, model)
        team.on_leader(lambda: _refuse_run(directory, overwrite))
        team.use(config.device)
        parts = team.together(lambda: read_data(config.data, data_directory, config.seed))
        on_data(parts)
        _refuse_many_processes(team, parts, config)
        file = team.from_leader(lambda: _first_model(model, config, parts))
        record: dict[str, Any] = {
            "kind": "train" if model is None else "finetune",
            "config": config.document(),
            "data_directory": str(data_directory.absolute()),
            "data": _description(parts),
            "versions": {"so3md": so3md.__version__, "torch": torch.__version__, "ase": ase.__version__},
        }
        team.refuse_different(record["data"], "the data of this process")
        run = cls(directory, record, file, parts, team)
        run._measure_threads()
        try:
            team.on_leader(lambda: run._begin(file, overwrite))
        except BaseException:
            run.close()
            raise
        return run

    def _begin(self, file: ModelFile, overwrite: bool) -> None:
        """Take the directory, and write what does not change."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = DirectoryLock(self.directory)
        _refuse_run(self.directory, overwrite)  # another process may have had the lock until now
        remove([self.directory / name for name in FILES])
        file.write(self.directory / START)
        write_json(self.directory / RUN, self.record)
        self.log = Log(self.directory / LOG, self.config.loss)

    @classmethod
    def resume(cls, directory: Path, changes: dict[str, Any] | None = None, team: TrainingTeam = ALONE) -> Run:
        """Go on with the run of a directory; changes: keys of the section `training` to change, such as epochs.

        team: the processes that share it from now on, as many as one likes.
        Where the last checkpoint is damaged, it goes on from the one before, with a warning; where the log has lost its
        end, after the last whole row, with a warning.
        Raises FileNotFoundError if there is no run, CheckpointError if the data have changed or both checkpoints are
        damaged, LockedError if another process works in the directory.
        """
        record = team.from_leader(lambda: _read_record(directory))
        try:
            build(Config, record["config"])
        except ConfigError as error:
            raise ConfigError(f"{directory / RUN}: damaged, or of another version: {error}") from error
        record["config"]["training"] |= changes or {}
        config = build(Config, record["config"])
        team.use(config.device)
        parts = team.together(lambda: read_data(config.data, Path(record["data_directory"]), config.seed))
        _refuse_many_processes(team, parts, config)
        team.together(lambda: refuse_other_run(directory / RUN, record["data"], _description(parts)))
        run = cls(directory, record, team.from_leader(lambda: ModelFile.read(directory / START)), parts, team)
        if "threads" not in record:  # it was begun by several processes
            run._measure_threads()
        try:
            state = team.from_leader(run._take_up)
            size = None if state is None else run._load(state)["log_size"]
            team.on_leader(lambda: run._go_on(size))
        except BaseException:
            run.close()
            raise
        return run

    def _take_up(self) -> TrainingCheckpoint | None:
        """Take the directory; its last checkpoint, None if there is none yet."""
        self._lock = DirectoryLock(self.directory)
        if not any((self.directory / name).exists() for name in (CHECKPOINT, PREVIOUS)):
            return None
        return TrainingCheckpoint.read_latest(self.directory / CHECKPOINT, torch.device("cpu"))

    def _go_on(self, log_size: int | None) -> None:
        self.log = Log(self.directory / LOG, self.config.loss, log_size)
        if log_size is not None:
            write_json(self.directory / RUN, self.record)

    def _load(self, state: TrainingCheckpoint) -> dict[str, Any]:
        try:
            return self.trainer.load(state)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{self.directory / CHECKPOINT}: not one of this training ({error})") from error

    def close(self) -> None:
        """Close the log, let other processes work in the directory, and give PyTorch its threads back."""
        if self._threads_before is not None:
            torch.set_num_threads(self._threads_before)
            self._threads_before = None
        if self.log:
            self.log.close()
        if self._lock:
            self._lock.release()

    def __enter__(self) -> Run:
        self._is_context = True
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def train(
        self,
        on_step: Callable[[], None] = lambda: None,
        on_validation: Callable[[Validation], None] = lambda _: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train until the end or until should_stop says so; everything is saved in either case.

        Raises NotFiniteError, with the structures in bad_structures.xyz, if the training breaks down.
        """

        def validated(row: Validation) -> None:
            if self.team.leads:
                present(self.log).write(row, self.trainer.seconds)
                if row.best:
                    self.write_model()
                if self.trainer.seconds - self._saved_at > _CHECKPOINT_EVERY:
                    self.save()
            on_validation(row)

        try:
            self._train(on_step, validated, should_stop)
        finally:
            if not self._is_context:
                self.close()

    def _train(
        self, on_step: Callable[[], None], validated: Callable[[Validation], None], should_stop: Callable[[], bool]
    ) -> None:
        try:
            self.trainer.run(on_step, validated, should_stop)
        except NotFiniteError as error:
            path, items = self.directory / BAD_STRUCTURES, error.items
            self.team.on_leader(lambda: _write_structures(path, items))
            raise NotFiniteError(
                error.items,
                self.trainer.step + 1,
                f"they are in {path}; check their reference values, or lower training.learning_rate",
            ) from None
        self.team.on_leader(self.save)

    def save(self) -> None:
        """Write a checkpoint, after the log whose size it records."""
        self.trainer.checkpoint({"log_size": present(self.log).sync()}).write(self.directory / CHECKPOINT)
        self._saved_at = self.trainer.seconds

    def write_model(self) -> None:
        """Write the model file of the best parameters so far."""
        with self.trainer.using(self.trainer.best_values):
            self.model_file().write(self.directory / MODEL)

    def model_file(self) -> ModelFile:
        """The model with its present parameters."""
        file = copy.copy(self._start)
        file.tensors = self.model.tensors()
        file.uncertainty = None  # of a model to go on with: that of its own tensors
        file.provenance = dict(self._start.provenance) | {
            self.record["kind"]: {
                "program": f"so3md {so3md.__version__}, torch {torch.__version__}",
                "config": self.record["config"],
                "data": self.record["data"],
                "epoch": self.trainer.best_epoch,
                "validation_loss": self.trainer.best_loss,
            }
        }
        return file

    def _items(self, samples: Sequence[Sample]) -> Sequence[Item]:
        if not isinstance(samples, list):  # on disk
            return LazyItems(samples, partial(make_model_items, self.model))
        return make_model_items(self.model, samples)


def _first_model(model: ModelFile | None, config: Config, parts: Parts) -> ModelFile:
    """What the training begins with, after the data were checked."""
    check_loss(config.loss, parts)
    if config.data.check_labels:
        check_labels(parts)
    return start_new(config, parts) if model is None else start_from(model, config, parts, _energies)


def _description(parts: Parts) -> dict[str, dict[str, Any]]:
    return {name: {"structures": len(part), "checksum": checksum(part)} for name, part in parts.items()}


def _refuse_many_processes(team: TrainingTeam, parts: Parts, config: Config) -> None:
    """Raise ConfigError for more processes than training structures; warn if some have nothing to do."""
    structures, batch = len(parts["train"]), config.training.batch_size
    if team.size > structures:
        raise ConfigError(
            f"{team.size} processes are more than there are training structures ({structures}): take fewer processes"
        )
    if team.leads and team.size > batch:
        warnings.warn(
            f"training.batch_size is {batch}, so that {team.size - batch} of {team.size} processes have nothing to do: "
            "take fewer processes, or larger batches",
            stacklevel=2,
        )


def _write_structures(path: Path, items: Sequence[Item]) -> None:
    text = io.StringIO()
    ase.io.write(text, [item.sample.atoms() for item in items], format="extxyz")
    replace_file(path, text.getvalue().encode())


def _refuse_run(directory: Path, overwrite: bool) -> None:
    taken = [name for name in FILES if (directory / name).exists()]
    if taken and not overwrite:
        raise FileExistsError(f"{directory} holds a run already ({taken[0]}); give another --output, or --overwrite")


def _read_record(directory: Path) -> dict[str, Any]:
    """The contents of run.json. Raises FileNotFoundError or ValueError if it is missing or damaged."""
    try:
        record = read_json(directory / RUN)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{directory} is not the directory of a training: it has no {RUN}") from None
    for key, kind in (("kind", str), ("config", dict), ("data_directory", str), ("data", dict)):
        if not isinstance(record.get(key), kind):
            raise ValueError(f"{directory / RUN}: damaged, or not that of a training: {key!r} is missing or wrong")
    if not isinstance(record["config"].get("training"), dict):
        raise ValueError(f"{directory / RUN}: damaged, its configuration has no section 'training'")
    return record


def make_model_items(model: TrainableModel, samples: Sequence[Sample]) -> list[Item]:
    return make_items(
        samples,
        model.elements,
        model.shift,
        model.hyper["cutoff"],
        model.lr_cutoffs,
        model.has_long_range,
        model.sees_all_pairs,
    )


def _energies(file: ModelFile, samples: Sequence[Sample]) -> np.ndarray:
    """Energies (eV) of structures by a model, without the shifts of the atoms."""
    model = make_model(file)
    hyper = model.hyper if model.takes_geometry else None
    parts = []
    for start in range(0, len(samples), 50):
        items = make_model_items(model, samples[start : start + 50])
        batch = join(items, hyper, torch.device("cpu"), torch.float64)
        with torch.no_grad():
            parts.append(model.predict(batch, forces=False).energy.numpy())
    return np.concatenate(parts)


def _dtype(config: Config) -> torch.dtype:
    return torch.float32 if config.precision == "float32" else torch.float64


def default_output(config: Config, path: Path) -> Path:
    """Directory of a run that was not told where to go: named after its configuration."""
    return Path(config.output) if config.output else Path(os.path.basename(path)).with_suffix("")
