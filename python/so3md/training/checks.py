"""What is checked of the data before a training begins, so that nothing is found out after the last epoch."""

from __future__ import annotations

import itertools
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from so3md.architectures import second_generation
from so3md.batch import evaluate_many
from so3md.ignored_states import IgnoredStateWarning, ignored_quantities, ignored_text
from so3md.model_file import ModelFile
from so3md.reference_values import Found, Inventory, what_looks_like
from so3md.training.config import LossConfig
from so3md.training.sample import Parts, Sample, all_of
from so3md.training.schema import ConfigError

#: Quantity of the loss -> head without which a model has none.
_HEADS = {"dipole": "charge_head", "hirshfeld_ratios": "hirshfeld_head"}


def found_in(parts: Parts) -> list[Found]:
    """What each file has of each quantity."""
    by_file: dict[str, Inventory] = {}
    for sample in all_of(parts):
        by_file.setdefault(sample.file, Inventory(sample.file)).add(sample)
    return [row for file in sorted(by_file) for row in by_file[file].rows()]


def check_loss(loss: LossConfig, parts: Parts) -> None:
    """Refuse a loss that asks for what no training structure has; warn where no validation structure has it."""
    wanted = {quantity: weight for quantity, weight in loss.weights.items() if weight}
    missing = [quantity for quantity in wanted if not _have(parts["train"], quantity)]
    if missing:
        texts = [
            f"loss.{quantity}: the weight is {wanted[quantity]:g}, and no training structure has {_called(quantity)}"
            f"{_left_out(parts['train'], quantity)}; {_similar(parts['train'], quantity)}"
            for quantity in missing
        ]
        advice = " ".join(f"Name the entry with data.keys.{name}, or set loss.{name} to 0." for name in missing)
        raise ConfigError(f"{'. '.join(texts)}. {advice}")
    for quantity in wanted:
        if not _have(parts["validation"], quantity):
            text = f"no validation structure has {_called(quantity)}, so that the best model is chosen without"
            warnings.warn(text, stacklevel=2)


def check_model(file: ModelFile, loss: LossConfig, parts: Parts) -> None:
    """Whether a model can be trained on the data: it predicts what the loss asks for, and the engine takes them."""
    check_cutoffs(file, parts)
    check_heads(loss, file.hyperparameters)
    check_states(file.hyperparameters, parts)
    check_structures(file, parts)


def check_cutoffs(file: ModelFile, parts: Parts) -> None:
    """Refuse two long-range cutoffs in one training, which models of the second generation of SO3LR do not take."""
    found = second_generation(file.hyperparameters, file.architecture)
    kinds = {bool(sample.structure.pbc.any()) for part in parts.values() for sample in part}
    if found and len(kinds) > 1 and file.long_range_cutoff != file.molecule_cutoff:
        raise ConfigError(
            f"model.long_range_cutoff_molecules: expected that of periodic structures, as the data have both kinds and "
            f"the model has {found[0]} (docs/so3lr2.md); give the same cutoff, or take structures of one kind only"
        )


def check_heads(loss: LossConfig, hyper: Mapping[str, Any]) -> None:
    """Refuse a loss for what the model does not predict."""
    for quantity, head in _HEADS.items():
        if getattr(loss, quantity) and hyper.get(head) is None:
            raise ConfigError(
                f"loss.{quantity}: the model has no {head}; add model.{head}, or set loss.{quantity} to 0"
            )


def check_states(hyper: Mapping[str, Any], parts: Parts) -> None:
    """Refuse data with several charges or spins that the model cannot tell apart; warn of a single one that it ignores.

    Such structures would be trained as if they had the same state, and what is learned is the mean of them.
    """
    for name in ignored_quantities(hyper):
        values = sorted({float(getattr(sample.structure, name)) for part in parts.values() for sample in part})
        if len(values) > 1:
            some = ", ".join(f"{value:g}" for value in values[:5]) + (", ..." if len(values) > 5 else "")
            raise ConfigError(
                f"model.{name}_embedding: expected true, because the structures have different {name}s ({some}); "
                f"set it (fine-tuning: take a model that has it), or take structures of one {name} only"
            )
        if values and values[0] != 0:
            warnings.warn(f"{ignored_text(name, values[0])}", IgnoredStateWarning, stacklevel=2)


def check_structures(file: ModelFile, parts: Parts) -> None:
    """Have the engine look at all structures, as it will in the end. Raises ValueError, naming the first bad one."""
    errors: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore", IgnoredStateWarning)  # said once already
        path = Path(directory) / "model.safetensors"
        file.write(path)
        predictions = evaluate_many(
            (sample.atoms() for sample in all_of(parts)),
            path,
            forces=False,
            on_error=lambda index, error: errors.update({index: str(error.__cause__ or error)}),
        )
        for _ in predictions:
            pass
    if errors:
        first = min(errors)
        more = f" (and {len(errors) - 1} more structures cannot be evaluated)" if len(errors) > 1 else ""
        sample = next(itertools.islice(all_of(parts), first, None))
        raise ValueError(f"{sample.origin}: {errors[first]}{more}")


def _have(samples: Sequence[Sample], quantity: str) -> bool:
    return any(getattr(sample, quantity) is not None for sample in samples)


def _called(quantity: str) -> str:
    article = "an " if quantity == "energy" else "a " if quantity in ("stress", "dipole") else ""
    return article + quantity.replace("_", " ")


def _left_out(samples: Sequence[Sample], quantity: str) -> str:
    reasons = [sample.left_out[quantity] for sample in samples if quantity in sample.left_out]
    return f" that is of use ({len(reasons)} left out: {reasons[0]})" if reasons else ""


def _similar(samples: Sequence[Sample], quantity: str) -> str:
    read = {name for sample in samples for name in sample.entries.values()}
    return what_looks_like(quantity, frozenset().union(*(sample.names for sample in samples)) - read)
