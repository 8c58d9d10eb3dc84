"""so3md finetune: an existing model, adapted to other data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from so3md.cli.train import print_example, run_options, train
from so3md.cli.training_command import TrainingCommand


@click.command("finetune", cls=TrainingCommand)
@click.argument("model", required=False)
@click.argument("config", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@run_options
@click.option("--example", is_flag=True, help="Print a configuration to begin with, and end.")
@click.pass_context
def command(ctx: click.Context, /, model: str | None, config: Path | None, example: bool, **options: Any) -> None:
    """Go on training MODEL, a shipped model such as so3lr or a model file, on the data of CONFIG.

    CONFIG is that of so3md train without the section `model` (docs/training.md; --example prints one). The network
    stays as it is; its zero of energy becomes that of the data, unless reference_energies says otherwise. Output is as
    for so3md train.
    """
    if example:
        print_example("finetune_example.yaml")
        return
    if options["resume"] is not None and model is not None:
        raise click.UsageError("--resume goes on with the run of a directory: no MODEL and no CONFIG")
    if options["resume"] is None and (model is None or config is None):
        raise click.UsageError("give a MODEL and a CONFIG, or --resume DIRECTORY")
    file = None
    if model is not None:
        from so3md.loading import model_path
        from so3md.model_file import ModelFile

        file = ModelFile.read(model_path(model))
    ctx.exit(train(ctx, config, file, **options))
