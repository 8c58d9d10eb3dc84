"""The training loop: steps, validations, the best model, and the state from which it goes on exactly."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch

from so3md.training import plain_step
from so3md.training.ahead import Ahead
from so3md.training.batches import Batch, Item, join
from so3md.training.checkpoint import TrainingCheckpoint
from so3md.training.config import ADAMW, Config
from so3md.training.garbage import present_objects_left_alone
from so3md.training.loss import Errors, compute, count_known, predict
from so3md.training.model import FastSo3krates, TrainableModel
from so3md.training.on_demand import sizes_of
from so3md.training.optimiser import FlatParameters, Optimiser
from so3md.training.processes import ALONE, TrainingTeam


class NotFiniteError(RuntimeError):
    """A loss or gradient that is not a number. `items`: the structures that it came from."""

    def __init__(self, items: Sequence[Item], step: int, advice: str = "") -> None:
        names = ", ".join(item.sample.origin for item in items[:5]) + (", ..." if len(items) > 5 else "")
        text = f"step {step}: the loss or its gradient is not a finite number, because of these structures: {names}"
        super().__init__(f"{text}; {advice}" if advice else text)
        self.items = list(items)


@dataclass
class Validation:
    """A row of the log: state of the training when the validation structures were evaluated."""

    epoch: int
    step: int
    learning_rate: float
    train: Errors
    validation: Errors
    loss: float
    best: bool


class Trainer:
    """Trains a model on items; knows nothing of files. Call `run`; `checkpoint` and `load` carry the state over.

    The order of the structures in an epoch follows from the seed and its number alone, so there is no random state.
    Several processes share the structures of each batch, and all have the same state; their methods `run` and `load`
    are collective.
    """

    def __init__(
        self,
        model: TrainableModel,
        train: Sequence[Item],
        validation: Sequence[Item],
        config: Config,
        team: TrainingTeam = ALONE,
    ) -> None:
        self.model, self.config, self.team = model, config, team
        self._train, self._validation, self._sizes = train, validation, sizes_of(train, _atoms_in)
        settings = config.training
        self.parameters = FlatParameters(model, settings.freeze, settings.low_rank, config.seed, settings.optimiser)
        self._is_plain = self.parameters.low_rank is None and plain_step.is_plain(model, config.loss)
        self.steps_per_epoch = math.ceil(len(train) / config.training.batch_size)
        self.total_steps = config.training.epochs * self.steps_per_epoch
        self._known: dict[int, torch.Tensor] = {}  # place of a structure -> components of each quantity
        self._batches = Ahead(self._batch_of, self.total_steps, wanted=not isinstance(train, list))
        self.optimiser = Optimiser(self.parameters, config.training, self.total_steps)
        self.best_values = self.optimiser.best_values.clone()
        self.best_loss, self.best_epoch = math.inf, 0
        self.errors = Errors()
        self.seconds = 0.0  # of all sessions
        self.stop_reason: str | None = None

    @property
    def step(self) -> int:
        return self.optimiser.step_number

    @property
    def epoch(self) -> int:
        """Number of epochs that are complete."""
        return self.step // self.steps_per_epoch

    def run(
        self,
        on_step: Callable[[], None] = lambda: None,
        on_validation: Callable[[Validation], None] = lambda _: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train until the end, or until should_stop says so after a step; `stop_reason` says why it has ended.

        Raises NotFiniteError, leaving the parameters as they were before the step.
        """
        begin, before = time.perf_counter(), self.seconds
        with present_objects_left_alone():
            while self.stop_reason is None:
                self._one_step()
                self.seconds = before + time.perf_counter() - begin
                if self.step % self.steps_per_epoch == 0 and self._validation_is_due():
                    on_validation(self._validate())
                on_step()
                self.stop_reason = self._reason_to_stop()
                if self.stop_reason is None and should_stop():
                    return

    def _one_step(self) -> None:
        sums = self._differentiate_share(self._batches.take(self.step))
        if not math.isfinite(self.optimiser.clip()):
            places = self._places_of(self.step)
            raise NotFiniteError(self._culprits([self._train[place] for place in places]), self.step + 1)
        self.optimiser.step()
        self.errors.add(sums)

    def _places_of(self, step: int) -> np.ndarray:
        """Which structures are those of a step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        size = self.config.training.batch_size
        return _order(self.config.seed, epoch, len(self._train))[place * size : (place + 1) * size]

    def _batch_of(self, step: int) -> Batch | None:
        """The share of this process of the batch of a step; None if it has none."""
        places = self._places_of(step)
        own = self.team.share_of(self._sizes[places])
        return self.join([self._train[places[number]] for number in own]) if own else None

    def first_items(self) -> list[Item]:
        """The structures of the first step."""
        return [self._train[place] for place in self._places_of(0)]

    def join(self, items: Sequence[Item]) -> Batch:
        """A batch on the device and in the precision of the parameters."""
        values = self.parameters.values
        return join(items, self.model.hyper if self.model.takes_geometry else None, values.device, values.dtype)

    def differentiate(self, batch: Batch, counts: torch.Tensor | None = None) -> torch.Tensor:
        """Leave the gradient of the loss of a batch in `parameters.gradient`; returns its sums of errors. counts: as of
        `compute`."""
        if self._is_plain:
            model = cast("FastSo3krates", self.model)
            return plain_step.differentiate(model, self.parameters, batch, self.config.loss, counts)
        self.parameters.zero_gradient()
        loss, sums = compute(predict(self.model, batch, self.config.loss, True), batch, self.config.loss, counts)
        self.parameters.differentiate(loss)
        return sums

    def _differentiate_share(self, batch: Batch | None) -> torch.Tensor:
        """`differentiate` of what all processes have of a batch, here this; None: nothing."""
        if batch is not None and self.team.size == 1:
            return self.differentiate(batch)
        counts = self._count_known(batch)
        if batch is None:
            self.parameters.zero_gradient()
        sums = Errors().sums if batch is None else self.differentiate(batch, counts)
        self.parameters.sums.copy_(sums.flatten())
        self.team.add_up(self.parameters.shared)
        return self.parameters.sums.view_as(sums).double()

    def _count_known(self, share: Batch | None) -> torch.Tensor:
        """How many components of each quantity the batch of the present step has, of which this process has a share."""
        if isinstance(self._train, list):
            counts = sum(self._known_in(int(place)) for place in self._places_of(self.step))
            return cast("torch.Tensor", counts)
        counts = count_known(share)  # others read the rest
        self.team.add_up(counts)
        return counts

    def _known_in(self, place: int) -> torch.Tensor:
        if place not in self._known:
            self._known[place] = count_known(self._train[place].batch)
        return self._known[place]

    def evaluate(self, items: Sequence[Item]) -> Errors:
        """Errors of the present parameters. Collective."""
        errors, own = Errors(), self.team.share_of(sizes_of(items, _atoms_in))
        size = self.config.training.validation_batch_size
        for start in range(0, len(own), size):
            batch = self.join([items[place] for place in own[start : start + size]])
            with torch.no_grad():
                _, sums = compute(predict(self.model, batch, self.config.loss, False), batch, self.config.loss)
            errors.add(sums)
        self.team.add_up(errors.sums)
        return errors

    @contextmanager
    def using(self, values: torch.Tensor) -> Iterator[None]:
        """Let the model have other parameters for a while."""
        present = self.parameters.values.clone()
        self.parameters.take(values)
        try:
            yield
        finally:
            self.parameters.take(present)

    def _validation_is_due(self) -> bool:
        return self.epoch % self.config.training.validation_interval == 0 or self.step >= self.total_steps

    def _validate(self) -> Validation:
        # The same bits everywhere, also where processors of different kinds round differently.
        self.team.take_leaders(self.optimiser.tensors().values())
        values = self.optimiser.best_values
        rate = self.optimiser.learning_rate
        with self.using(values):
            errors = self.evaluate(self._validation)
        loss = errors.loss(self.config.loss)
        if not math.isfinite(loss):
            raise NotFiniteError(self._culprits(self._validation), self.step)
        better = loss < self.best_loss
        if better:
            self.best_loss, self.best_epoch = loss, self.epoch
            self.best_values.copy_(values)
        self.optimiser.plateau.update(loss)
        result = Validation(self.epoch, self.step, rate, self.errors, errors, loss, better)
        self.errors = Errors()
        return result

    def _reason_to_stop(self) -> str | None:
        settings = self.config.training
        if self.step >= self.total_steps:
            return f"all {settings.epochs} epochs are done"
        patience = settings.early_stopping
        if patience is not None and self.best_epoch and self.epoch - self.best_epoch >= patience:
            return f"no improvement in {patience} epochs"
        limit = settings.time_limit
        if limit is not None and self.team.highest(self.seconds > 3600 * limit):  # clocks differ
            return f"the time limit of {settings.time_limit:g} hours"
        return None

    def _culprits(self, items: Sequence[Item]) -> list[Item]:
        """The structures that by themselves give something that is not finite; all if it is none of them alone."""
        found = []
        for item in items:
            self.differentiate(self.join([item]))
            if not torch.isfinite(self.parameters.gradient).all():
                found.append(item)
        return found or list(items)

    def checkpoint(self, extra: dict[str, Any]) -> TrainingCheckpoint:
        """The whole state; extra: plain data of the caller, which `load` returns."""
        state = {
            "step": self.step,
            "best_loss": None if math.isinf(self.best_loss) else self.best_loss,
            "best_epoch": self.best_epoch,
            "errors": self.errors.sums.tolist(),
            "plateau": self.optimiser.plateau.state(),
            "seconds": self.seconds,
            "low_rank": self.config.training.low_rank,
            "optimiser": self.config.training.optimiser,
            "decayed_size": self.parameters.decayed_size,
            "extra": extra,
        }
        return TrainingCheckpoint(self.optimiser.tensors() | {"best": self.best_values}, state)

    def load(self, checkpoint: TrainingCheckpoint) -> dict[str, Any]:
        """Take the state of a checkpoint. Raises ValueError for one whose vectors mean something else: of another
        `training.low_rank` or `training.optimiser`, or of an earlier version of so3md."""
        state, rank, optimiser = checkpoint.state, self.config.training.low_rank, self.config.training.optimiser
        if state.get("low_rank") != rank:  # vectors of the same length may mean something else
            raise ValueError(f"training.low_rank was {state.get('low_rank')}, and is {rank}")
        if (before := state.get("optimiser", ADAMW)) != optimiser:
            raise ValueError(f"training.optimiser was {before}, and is {optimiser}")
        if state.get("decayed_size") != self.parameters.decayed_size:
            raise ValueError("it is of an earlier version of so3md, which kept the parameters in another order")
        self.optimiser.load(checkpoint.tensors, state["step"])
        self.optimiser.plateau.load(state["plateau"])
        self.best_values.copy_(checkpoint.tensors["best"])
        self.best_loss = math.inf if state["best_loss"] is None else state["best_loss"]
        self.best_epoch, self.seconds = state["best_epoch"], state["seconds"]
        self.errors = Errors(state["errors"])
        self.stop_reason = self._reason_to_stop()
        return state["extra"]


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of structures in an epoch."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def _atoms_in(item: Item) -> int:
    return len(item.batch.species)
