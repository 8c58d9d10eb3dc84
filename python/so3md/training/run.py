"""A training run: its directory, its start and its going on, and the model file that it leaves."""

from __future__ import annotations

import copy
import io
import os
from collections.abc import Callable, Sequence
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
from so3md.training.batches import Item, cache_geometry, join, make_items
from so3md.training.checkpoint import TrainingCheckpoint
from so3md.training.checks import check_loss
from so3md.training.config import Config
from so3md.training.data import Sample, checksum
from so3md.training.label_checks import check_labels
from so3md.training.log import Log
from so3md.training.model import TrainableModel, make_model
from so3md.training.schema import ConfigError, build
from so3md.training.splits import read_data
from so3md.training.start import start_from, start_new
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
        self, directory: Path, record: dict[str, Any], start: ModelFile, parts: dict[str, list[Sample]]
    ) -> None:
        self.directory, self.record, self.parts = directory, record, parts
        self._lock: DirectoryLock | None = None
        self._is_context = False
        self.log: Log | None = None
        self.config = build(Config, record["config"])
        self.device = _device(self.config)
        # One thread, so that what is computed once is the same to the bit whatever number is measured to be best.
        torch.set_num_threads(self.config.threads or 1)
        self._start = start
        self.model = make_model(start).to(self.device, _dtype(self.config))
        items = {name: self._items(parts[name]) for name in ("train", "validation")}
        self.trainer = Trainer(self.model, items["train"], items["validation"], self.config)
        torch.set_num_threads(self.threads)
        self._saved_at = 0.0

    @property
    def threads(self) -> int:
        """Threads of PyTorch: those of the configuration, else those that were measured to be best at the start."""
        return self.config.threads or self.record.get("threads") or MOST

    @classmethod
    def start(
        cls,
        config: Config,
        data_directory: Path,
        directory: Path,
        *,
        model: ModelFile | None = None,
        overwrite: bool = False,
        on_data: Callable[[dict[str, list[Sample]]], None] = lambda _: None,
    ) -> Run:
        """A new run in a directory, of a new model or of one to go on with. data_directory: where relative paths begin;
        on_data is called with the structures once they are read.

        Raises FileExistsError if the directory holds a run, unless it is to be overwritten; LockedError if another
        process works in it.
        """
        _refuse_run(directory, overwrite)
        _device(config)
        parts = read_data(config.data, data_directory, config.seed)
        on_data(parts)
        check_loss(config.loss, parts)
        if config.data.check_labels:
            check_labels(parts)
        file = start_new(config, parts) if model is None else start_from(model, config, parts, _energies)
        record: dict[str, Any] = {
            "kind": "train" if model is None else "finetune",
            "config": config.document(),
            "data_directory": str(data_directory.absolute()),
            "data": {name: {"structures": len(part), "checksum": checksum(part)} for name, part in parts.items()},
            "versions": {"so3md": so3md.__version__, "torch": torch.__version__, "ase": ase.__version__},
        }
        run = cls(directory, record, file, parts)
        if config.threads is None and run.device.type == "cpu":
            record["threads"] = choose_threads(run.trainer)
            torch.set_num_threads(run.threads)
        directory.mkdir(parents=True, exist_ok=True)
        run._lock = DirectoryLock(directory)
        try:
            _refuse_run(directory, overwrite)  # another process may have had the lock until now
            remove([directory / name for name in FILES])
            file.write(directory / START)
            write_json(directory / RUN, record)
            run.log = Log(directory / LOG, config.loss)
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def resume(cls, directory: Path, changes: dict[str, Any] | None = None) -> Run:
        """Go on with the run of a directory; changes: keys of the section `training` to change, such as epochs.

        Where the last checkpoint is damaged, it goes on from the one before, with a warning; where the log has lost its
        end, after the last whole row, with a warning.
        Raises FileNotFoundError if there is no run, CheckpointError if the data have changed or both checkpoints are
        damaged, LockedError if another process works in the directory.
        """
        record = _read_record(directory)
        try:
            build(Config, record["config"])
        except ConfigError as error:
            raise ConfigError(f"{directory / RUN}: damaged, or of another version: {error}") from error
        record["config"]["training"] |= changes or {}
        config = build(Config, record["config"])
        parts = read_data(config.data, Path(record["data_directory"]), config.seed)
        refuse_other_run(
            directory / RUN,
            record["data"],
            {name: {"structures": len(part), "checksum": checksum(part)} for name, part in parts.items()},
        )
        run = cls(directory, record, ModelFile.read(directory / START), parts)
        run._lock = DirectoryLock(directory)
        try:
            if not any((directory / name).exists() for name in (CHECKPOINT, PREVIOUS)):
                run.log = Log(directory / LOG, config.loss)
                return run
            state = TrainingCheckpoint.read_latest(directory / CHECKPOINT, torch.device("cpu"))
            extra = run._load(state)
            run.log = Log(directory / LOG, config.loss, extra["log_size"])
            write_json(directory / RUN, record)
        except BaseException:
            run.close()
            raise
        return run

    def _load(self, state: TrainingCheckpoint) -> dict[str, Any]:
        try:
            return self.trainer.load(state)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{self.directory / CHECKPOINT}: not one of this training ({error})") from error

    def close(self) -> None:
        """Close the log, and let other processes work in the directory."""
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
            path = self.directory / BAD_STRUCTURES
            text = io.StringIO()
            ase.io.write(text, [item.sample.atoms() for item in error.items], format="extxyz")
            replace_file(path, text.getvalue().encode())
            raise NotFiniteError(
                error.items,
                self.trainer.step + 1,
                f"they are in {path}; check their reference values, or lower training.learning_rate",
            ) from None
        self.save()

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

    def _items(self, samples: Sequence[Sample]) -> list[Item]:
        items = make_model_items(self.model, samples)
        if self.model.takes_geometry:
            cache_geometry(items, self.model.hyper, _dtype(self.config))
        return items


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
    items = make_model_items(model, samples)
    hyper = model.hyper if model.takes_geometry else None
    parts = []
    for start in range(0, len(items), 50):
        batch = join(items[start : start + 50], hyper, torch.device("cpu"), torch.float64)
        with torch.no_grad():
            parts.append(model.predict(batch, forces=False).energy.numpy())
    return np.concatenate(parts)


def _dtype(config: Config) -> torch.dtype:
    return torch.float32 if config.precision == "float32" else torch.float64


def _device(config: Config) -> torch.device:
    """The device of the configuration. Raises RuntimeError if PyTorch does not have it."""
    if config.device.startswith("cuda") and not torch.cuda.is_available():
        built = "this PyTorch was built without CUDA" if torch.version.cuda is None else "PyTorch finds no GPU"
        raise RuntimeError(f"device: {config.device} was asked for, but {built}; use cpu, or install PyTorch for CUDA")
    return torch.device(config.device)


def default_output(config: Config, path: Path) -> Path:
    """Directory of a run that was not told where to go: named after its configuration."""
    return Path(config.output) if config.output else Path(os.path.basename(path)).with_suffix("")
