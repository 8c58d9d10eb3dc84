"""so3md train: a model of one's own from reference data."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from so3md.cli.common import Number, free_path, make_console, plots
from so3md.cli.signals import GracefulStop
from so3md.cli.training_command import TrainingCommand, processes_option

if TYPE_CHECKING:
    from rich.console import Console

    from so3md.model_file import ModelFile
    from so3md.training.committee import CommitteeRun
    from so3md.training.processes import TrainingTeam
    from so3md.training.run import Run
    from so3md.training.sample import Parts


_COMMITTEE = "committee.json"  # of so3md.training.committee, which needs PyTorch to be imported


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what `train` and `finetune` have in common."""
    for option in reversed(
        (
            click.option(
                "--output", "-o", type=click.Path(path_type=Path), help="Directory. Default: that of the file."
            ),
            click.option("--overwrite", is_flag=True, help="Replace the run that the directory holds."),
            click.option("--resume", type=click.Path(path_type=Path), help="Directory of a run to go on with."),
            click.option("--epochs", type=click.IntRange(1, 10**9), help="Instead of training.epochs."),
            click.option(
                "--committee",
                type=click.IntRange(2, 26),
                help="Train so many models, with other seeds, into a.safetensors, b.safetensors, ...",
            ),
            click.option("--time-limit", type=Number(1e-6, 1e9, "h"), help="Instead of training.time_limit, in hours."),
            processes_option,
        )
    ):
        function = option(function)
    return function


@click.command("train", cls=TrainingCommand)
@click.argument("config", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@run_options
@click.option("--example", is_flag=True, help="Print a configuration to begin with, and end.")
@click.pass_context
def command(ctx: click.Context, /, config: Path | None, example: bool, **options: Any) -> None:
    """Train a model as CONFIG says, a YAML file (docs/training.md; --example prints one).

    Everything goes to one directory: model.safetensors (the best model so far, for so3md md, ASE and LAMMPS), log.csv,
    learning_curve.png, parity.png, summary.json with the test errors, and checkpoint.safetensors, from which --resume
    goes on exactly. Ctrl-C stops after the present step with everything saved.
    """
    if example:
        print_example("example.yaml")
        return
    ctx.exit(train(ctx, config, None, **options))


def print_example(name: str) -> None:
    """Print a configuration of `so3md.training`, which needs PyTorch to be imported, but not to be looked into."""
    click.echo(resources.files("so3md").joinpath(f"training/{name}").read_text(encoding="utf-8"), nl=False)


def train(
    ctx: click.Context,
    config: Path | None,
    model: ModelFile | None,
    *,
    output: Path | None,
    overwrite: bool,
    resume: Path | None,
    epochs: int | None,
    time_limit: float | None,
    committee: int | None = None,
) -> int:
    """Start or resume a run, and see it through; returns the exit code."""
    from so3md.training.config import read_config
    from so3md.training.processes import launched_team
    from so3md.training.run import Run, default_output

    team = launched_team()
    changes = {key: value for key, value in (("epochs", epochs), ("time_limit", time_limit)) if value is not None}
    if resume is not None:
        if config is not None or output is not None or overwrite or committee is not None:
            raise click.UsageError(
                "--resume goes on with the run of a directory: no CONFIG, --output, --overwrite or --committee"
            )
        if team.from_leader((resume / _COMMITTEE).is_file):
            return _resume_committee(resume, changes, team)
        with Run.resume(resume, changes, team) as run:
            return see_through(run)
    if config is None:
        raise click.UsageError("give a CONFIG (--example prints one), or --resume DIRECTORY")
    settings = read_config(config)
    for key, value in changes.items():
        setattr(settings.training, key, value)
    directory = output or default_output(settings, config)
    if output is None and settings.output is None and not overwrite:
        directory = team.from_leader(lambda: free_path(str(directory)))
    if committee is not None:
        return _start_committee(team, committee, settings, config.parent, directory, model, overwrite)
    with Run.start(
        settings, config.parent, directory, model=model, overwrite=overwrite, on_data=show_data, team=team
    ) as run:
        return see_through(run)


def _start_committee(team: TrainingTeam, members: int, *described: Any) -> int:
    from so3md.training.committee import CommitteeRun

    return _train_committee(team.from_leader(lambda: CommitteeRun.start(members, *described)), {}, team)


def _resume_committee(directory: Path, changes: dict[str, Any], team: TrainingTeam) -> int:
    from so3md.training.committee import CommitteeRun

    return _train_committee(team.from_leader(lambda: CommitteeRun.resume(directory, changes)), changes, team)


def _train_committee(committee: CommitteeRun, changes: dict[str, Any], team: TrainingTeam) -> int:
    """Train the members, and tell the user about it; returns the exit code."""

    def member(number: int, run: Run) -> int:
        click.echo(f"Member {number} of {committee.members}")
        code = see_through(run)
        if code:
            click.echo(f"All members: so3md {run.record['kind']} --resume {committee.directory}")
        return code

    code = committee.train(member, show_data, changes, team)
    if code == 0:
        names = [str(committee.model_of(number)) for number in range(1, committee.members + 1)]
        click.echo(f"The committee: --model {' --model '.join(names)}")
    return code


def show_data(parts: Parts) -> None:
    """Print what reference values the files have."""
    from so3md.cli.reference_table import show_found
    from so3md.training.checks import found_in

    show_found(found_in(parts), make_console())


def see_through(run: Run) -> int:
    """Train, and tell the user about it; returns the exit code."""
    from so3md.cli.training_display import TrainingDisplay, describe

    console = make_console()
    console.print(describe(run), highlight=False, soft_wrap=True, markup=False)
    with GracefulStop(run.team) as stop, TrainingDisplay(run, console) as display:
        run.train(display.update, display.validated, stop.share)
    return run.team.from_leader(lambda: _conclude(run, console, stop.exit_code))


def _conclude(run: Run, console: Console, stopped: int) -> int:
    """Say what came of a training; returns the exit code, `stopped` if it was stopped."""
    from so3md.cli.training_display import show_assessment
    from so3md.training.assess import assess
    from so3md.training.run import CURVE, LOG, MODEL, PARITY

    trainer = run.trainer
    drawing = plots()
    if drawing and trainer.best_epoch:
        from so3md.training.plots import plot_learning_curve

        plot_learning_curve(run.directory / LOG, run.directory / CURVE)
    if trainer.stop_reason is None:
        console.print(
            f"Stopped after step {trainer.step} of {trainer.total_steps}, everything is saved. "
            f"Go on with: so3md {run.record['kind']} --resume {run.directory}",
            highlight=False,
            soft_wrap=True,
        )
        return stopped
    result = assess(run)
    if drawing:
        pairs = result.evaluation.energy_pairs(per_atom=True), result.evaluation.force_pairs()
        drawing.plot_parity(*pairs, run.directory / PARITY)
    show_assessment(run, result, console)
    if not result.agrees:
        raise RuntimeError(
            f"the engine and PyTorch disagree about {run.directory / MODEL}: energies by "
            f"{result.energy_difference:.1e} eV/atom, forces by {result.force_difference:.1e} eV/A; please report this"
        )
    return 0
