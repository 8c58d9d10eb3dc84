"""All parameters in one piece of memory: the optimiser, clipping and averaging then take a few operations a step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from so3md.nearest_name import closest
from so3md.present import present
from so3md.training.config import ADAMW, MUON, TrainingConfig
from so3md.training.loss import SUMS
from so3md.training.low_rank import LowRank
from so3md.training.model import TrainableModel
from so3md.training.muon import Muon
from so3md.training.schema import ConfigError

#: Matrices with a side of at most this length have too few directions to be worth it, and are left to Adam.
_SMALL_SIDE = 8


class FlatParameters:
    """The trained parameters of a model as one vector; they and it share memory.

    First those that Muon trains, if it does, then others with weight decay, then the rest.

    With a low rank, factors stand there for matrices: `take` and `update` give the model the matrices of the vector,
    and `differentiate` the vector its gradient.
    """

    def __init__(
        self,
        model: TrainableModel,
        freeze: Sequence[str] = (),
        low_rank: int | None = None,
        seed: int = 0,
        optimiser: str = ADAMW,
    ) -> None:
        """seed: of the factors that begin at random. Raises ConfigError if nothing is left to train, or to Muon."""
        frozen = _frozen(model, freeze)
        trained = [p for p in model.parameters() if p.requires_grad and id(p) not in frozen]
        for parameter in model.parameters():
            parameter.requires_grad_(any(parameter is item for item in trained))
        self.low_rank = None if low_rank is None else LowRank(model, trained, low_rank, seed)
        if self.low_rank is None:
            # Biases, norms and tables are left alone by weight decay.
            decayed = [p for p in trained if model.is_of_matrices(p)]
            rest = [p for p in trained if not model.is_of_matrices(p)]
        else:
            # Decay of the factors alone draws the model to the one that it began with.
            decayed, rest = self.low_rank.factors, self.low_rank.rest
        large = _large(model, decayed) if optimiser == MUON else []
        decayed = [*large, *(p for p in decayed if not any(p is item for item in large))]
        self.large_size = sum(p.numel() for p in large)
        self.decayed_size = sum(p.numel() for p in decayed)
        size = self.decayed_size + sum(p.numel() for p in rest)
        like = trained[0]  # of precision and device
        self.values = torch.empty(size, dtype=like.dtype, device=like.device)
        # What processes add up at once: the gradient, and behind it the sums of errors of a batch.
        self.shared = torch.zeros(size + SUMS, dtype=like.dtype, device=like.device)
        self.gradient, self.sums = self.shared[:size], self.shared[size:]
        start = 0
        for parameter in (*decayed, *rest):
            stop = start + parameter.numel()
            for vector, name in ((self.values, "data"), (self.gradient, "grad")):
                view = vector[start:stop].view(parameter.shape)
                if name == "data":
                    view.copy_(parameter.data)
                setattr(parameter, name, view)
            start = stop
        # Matrices, some of them strided, in the memory of the parameters that come first.
        self.large = [view for parameter in large for view in model.views_of(parameter).values()]

    def update(self) -> None:
        """Let the model follow, after the vector was changed."""
        if self.low_rank is not None:
            self.low_rank.merge()

    def take(self, values: Tensor) -> None:
        """Give the vector, and so the model, other values."""
        self.values.copy_(values)
        self.update()

    def zero_gradient(self) -> None:
        """Before a loss is differentiated, as gradients are added to what is there."""
        self.gradient.zero_()
        if self.low_rank is not None:
            self.low_rank.zero_gradient()

    def differentiate(self, loss: Tensor) -> None:
        """Add the gradient of a loss to `gradient`, which `zero_gradient` has made zero."""
        loss.backward()
        if self.low_rank is not None:
            self.low_rank.differentiate()

    def groups(self) -> tuple[nn.Parameter, nn.Parameter]:
        """Two parameters that stand for all that Adam trains: with and without weight decay."""

        def stand_in(part: slice) -> nn.Parameter:
            parameter = nn.Parameter(self.values[part])
            parameter.grad = self.gradient[part]
            return parameter

        return stand_in(slice(self.large_size, self.decayed_size)), stand_in(slice(self.decayed_size, None))


class Optimiser:
    """AdamW, or Muon for large matrices and AdamW for the rest, with warm-up, a schedule, clipping and an average of
    the parameters."""

    def __init__(self, parameters: FlatParameters, config: TrainingConfig, total_steps: int) -> None:
        self.parameters, self.config, self.total_steps = parameters, config, total_steps
        decayed, rest = parameters.groups()
        groups = [{"params": [decayed], "weight_decay": config.weight_decay}, {"params": [rest], "weight_decay": 0.0}]
        self.adam = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        first = slice(None, parameters.large_size)
        self.muon = (
            Muon(parameters.values[first], parameters.gradient[first], parameters.large) if parameters.large else None
        )
        self.average = parameters.values.clone() if config.ema_decay is not None else None
        self.step_number = 0
        self.plateau = Plateau(config.schedule.factor, config.schedule.patience, config.schedule.final)

    @property
    def best_values(self) -> Tensor:
        """The parameters to evaluate and to keep: the average, or the present ones where there is none."""
        return self.parameters.values if self.average is None else self.average

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        config, schedule = self.config, self.config.schedule
        if self.step_number < config.warm_up_steps:
            return config.learning_rate * (self.step_number + 1) / (config.warm_up_steps + 1)
        span = max(1, self.total_steps - config.warm_up_steps)
        progress = min(1.0, (self.step_number - config.warm_up_steps) / span)
        factor = {
            "constant": 1.0,
            "exponential": schedule.final**progress,
            "cosine": schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * progress)) / 2,
            "plateau": self.plateau.level,
        }[schedule.type]
        return config.learning_rate * factor

    def clip(self) -> float:
        """Norm of the gradient before it is shortened to `gradient_clipping`; not finite if the gradient is not."""
        norm = torch.linalg.vector_norm(self.parameters.gradient).item()
        limit = self.config.gradient_clipping
        if limit is not None and norm > limit:
            self.parameters.gradient.mul_(limit / norm)
        return norm

    def step(self) -> None:
        """Change the parameters by the present gradient."""
        for group in self.adam.param_groups:
            group["lr"] = self.learning_rate
        if self.muon is not None:
            self.muon.step(self.learning_rate, self.config.weight_decay)
        self.adam.step()
        self.parameters.update()
        self.step_number += 1
        if self.average is not None:
            # A short memory at first, else the average would remember the random start for a long time.
            decay = min(present(self.config.ema_decay), (1 + self.step_number) / (10 + self.step_number))
            self.average.lerp_(self.parameters.values, 1 - decay)

    def tensors(self) -> dict[str, Tensor]:
        """The vectors of the state, for a checkpoint."""
        result = {"parameters": self.parameters.values}
        if self.average is not None:
            result["average"] = self.average
        if self.muon is not None:
            result["momentum"] = self.muon.momentum
        for number, group in enumerate(self.adam.param_groups):
            state = self.adam.state.get(group["params"][0], {})
            result |= {f"{name}.{number}": state[name] for name in ("exp_avg", "exp_avg_sq") if name in state}
        return result

    def load(self, tensors: dict[str, Tensor], step_number: int) -> None:
        """Go on from the vectors of a checkpoint."""
        self.step_number = step_number
        self.parameters.take(tensors["parameters"])
        if self.average is not None:
            self.average.copy_(tensors["average"])
        if self.muon is not None:
            self.muon.momentum.copy_(tensors["momentum"])
        for number, group in enumerate(self.adam.param_groups):
            if f"exp_avg.{number}" in tensors:
                parameter = group["params"][0]
                self.adam.state[parameter] = {
                    name: tensors[f"{name}.{number}"].to(parameter) for name in ("exp_avg", "exp_avg_sq")
                } | {"step": torch.tensor(float(step_number), device=parameter.device)}


class Plateau:
    """A factor that shrinks when a value has not improved for a while."""

    def __init__(self, factor: float, patience: int, lowest: float) -> None:
        self.factor, self.patience, self.lowest = factor, patience, lowest
        self.level, self.best, self.waited = 1.0, math.inf, 0

    def update(self, value: float) -> None:
        """Take note of a validation."""
        if value < self.best:
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.level, self.waited = max(self.lowest, self.level * self.factor), 0

    def state(self) -> list[float | None]:
        return [self.level, None if math.isinf(self.best) else self.best, self.waited]

    def load(self, state: list[float | None]) -> None:
        level, best, waited = state
        self.best = math.inf if best is None else best
        self.level, self.waited = present(level), int(present(waited))


def _large(model: TrainableModel, matrices: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """Parameters whose matrices are all larger than `_SMALL_SIDE` both ways."""
    large = [p for p in matrices if all(min(v.shape[-2:]) > _SMALL_SIDE for v in model.views_of(p).values())]
    if not large:
        raise ConfigError(
            f"training.optimiser: muon is for matrices of more than {_SMALL_SIDE} rows and columns, and there is none "
            "among the trained parameters; take adamw"
        )
    return large


def _frozen(model: TrainableModel, prefixes: Sequence[str]) -> set[int]:
    """Identities of the parameters whose tensors all begin with one of the prefixes."""
    if not prefixes:
        return set()
    names = [name for name, _ in model.views()]
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            blocks = sorted({name.rsplit(".", depth)[0] for name in names for depth in (1, 2)} | set(names))
            raise ConfigError(f"training.freeze: no tensor begins with {prefix!r}; {closest(prefix, blocks)}")
    frozen = set()
    for parameter in model.parameters():
        own = list(model.views_of(parameter))
        chosen = [any(name.startswith(prefix) for prefix in prefixes) for name in own]
        if any(chosen) and not all(chosen):
            left = own[chosen.index(False)]
            raise ConfigError(f"training.freeze: {left} is trained together with {own[chosen.index(True)]}; name both")
        if any(chosen):
            frozen.add(id(parameter))
    if len(frozen) == len(list(model.parameters())):
        raise ConfigError("training.freeze: nothing is left to train")
    return frozen
