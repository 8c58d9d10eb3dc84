"""How a training is going, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from so3md.cli.progress import ProgressBar
from so3md.cli.reference_table import error_table
from so3md.model_file import count_parameters

if TYPE_CHECKING:
    from so3md.training.assess import Assessment
    from so3md.training.run import Run
    from so3md.training.trainer import Validation

#: Quantities after energy and forces, factors from eV/A^3, e A and 1, and units.
_OTHERS = (("stress", 1000, "meV/Å³"), ("dipole", 1000, "me Å"), ("hirshfeld_ratios", 1, ""))


class TrainingDisplay:
    """Shows a training: call `update` after each step and `validated` after each validation."""

    def __init__(self, run: Run, console: Console) -> None:
        self._run, self._text = run, ""
        self._progress = ProgressBar(console, run.trainer.total_steps, run.trainer.step, remembers=120)

    def update(self) -> None:
        """Show the present step."""
        if self._progress.on_terminal and self._progress.due():
            self._progress.show(self._run.trainer.step, self._text)

    def validated(self, row: Validation) -> None:
        """Take note of errors."""
        trainer = self._run.trainer
        self._text = validation_text(row, self._run.config.loss.energy_per)
        last = trainer.step >= trainer.total_steps
        if not self._progress.on_terminal and (last or self._progress.due()):
            epoch = f"epoch {row.epoch} of {self._run.config.training.epochs}, {trainer.seconds:.0f} s"
            self._progress.show(trainer.step, self._text, f"{epoch}: {self._text}")

    def __enter__(self) -> TrainingDisplay:
        self._progress.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.show(self._run.trainer.step, self._text)
        self._progress.__exit__()


def validation_text(row: Validation, energy_per: str) -> str:
    """Mean absolute errors of the validation structures, in the units of the field."""
    unit = "meV/atom" if energy_per == "atom" else "meV"
    energy, forces = row.validation.mae("energy"), row.validation.mae("forces")
    parts = [f"loss {row.loss:.3g}"]
    if energy is not None:
        parts.append(f"energy MAE {1000 * energy:.3g} {unit}")
    if forces is not None:
        parts.append(f"force MAE {1000 * forces:.3g} meV/Å")
    for name, factor, unit in _OTHERS:
        error = row.validation.mae(name)
        if error is not None:
            parts.append(f"{name.replace('_', ' ')} MAE {factor * error:.3g} {unit}".rstrip())
    return ", ".join(parts)


def describe(run: Run) -> str:
    """What is going to be trained on what."""
    trainer, config = run.trainer, run.config
    counts = ", ".join(f"{len(part)} {name}" for name, part in run.parts.items() if part)
    elements = " ".join(_symbols(run.model.elements))
    trained, parameters = trainer.parameters.values.numel(), count_parameters(run.model.tensors())
    threads = "1 thread" if run.threads == 1 else f"{run.threads} threads"
    if run.team.size > 1:
        threads = f"{run.team.size} processes of {threads}"
    elif config.threads is None and "threads" in run.record:
        threads += " (measured to be quickest)"
    begin = f", from step {trainer.step}" if trainer.step else ""
    return (
        f"{run.model.hyper['num_layers']} layers, {run.model.hyper['num_features']} features, "
        f"{parameters:,} parameters ({trained:,} to train), elements {elements}, {config.precision}, {config.device}, "
        f"{threads}\n"
        f"Layers {layer_form(run)}\n"
        f"Structures: {counts}; {config.training.epochs} epochs of {trainer.steps_per_epoch} steps{begin}\n"
        f"Into {run.directory}; Ctrl-C stops and saves"
    )


def layer_form(run: Run) -> str:
    """What computes the layers."""
    if run.trainer.model.takes_native_steps:
        return "by kernels of the engine"
    return "in operations of PyTorch: kernels are for architecture so3krates without second-generation options, on CPUs"


def _symbols(elements: list[int]) -> list[str]:
    from ase.data import chemical_symbols

    return [chemical_symbols[z] for z in elements]


def show_assessment(run: Run, result: Assessment, console: Console) -> None:
    """Errors of the final model, and where everything is."""
    table = error_table(result.evaluation)
    table.title = f"errors of the {result.part} structures, by the engine"
    console.print(table)
    trainer = run.trainer
    console.print(
        f"Ended: {trainer.stop_reason}; best after epoch {trainer.best_epoch}, {trainer.seconds:.0f} s in all. "
        f"Engine and PyTorch agree to {result.energy_difference:.0e} eV/atom and {result.force_difference:.0e} eV/Å.\n"
        f"The model: {run.directory / 'model.safetensors'}",
        highlight=False,
        soft_wrap=True,
    )
