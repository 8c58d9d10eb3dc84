"""so3md distill: a small model of one's own system, for the inner steps of multiple time steps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from so3md.cli.common import THREADS, Command, Number, free_path, make_console, read_input, warn_of_many_threads
from so3md.cli.progress import ProgressBar
from so3md.cli.signals import GracefulStop
from so3md.torch_launch import launched

if TYPE_CHECKING:
    from rich.console import Console

    from so3md.distillation import Distillation

_ONE_STRUCTURE = {"index": -1, "supercell": (1, 1, 1), "format": None, "charge": None, "spin": None}
#: Of the teacher's forces (rms), the difference of a student beyond which it is no good: twice that of a poor one.
_LARGEST_SHARE = 1 / 3
#: Options that say how a distillation begins.
_ONLY_AT_START = (
    "structures",
    "output",
    "overwrite",
    "teacher",
    "temperature",
    "frames",
    "layers",
    "features",
    "cutoff",
    "epochs",
    "time_limit",
    "seed",
    "threads",
)


@click.command("distill", cls=Command)
@click.argument("structures", nargs=-1)
@click.option("--teacher", help="Name of a shipped model, or a model file. Default: so3lr.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="File of the student. Default: student.safetensors."
)
@click.option("--overwrite", is_flag=True, help="Replace the file, and the distillation in the directory beside it.")
@click.option("--resume", type=click.Path(path_type=Path), help="Directory of a distillation to go on with.")
@click.option(
    "--temperature",
    type=Number(1.0, 1e4, "K"),
    multiple=True,
    help="Of the teacher's dynamics, in K; may be given several times. Default: 300 and 600.",
)
@click.option(
    "--frames",
    type=click.IntRange(10, 10**6),
    help="Of each structure at each temperature. Default: so many that there are 30,000 atoms, from 10 to 400.",
)
@click.option("--layers", type=click.IntRange(1, 10), help="Of the student. Default: 2.")
@click.option("--features", type=click.IntRange(4, 1000), help="Of the student, a multiple of 4. Default: 32.")
@click.option("--cutoff", type=Number(1.0, 20.0, "A"), help="Of the student, in Angstrom. Default: 3.5.")
@click.option("--epochs", type=click.IntRange(1, 10**9), help="Of its training. Default: some 6000 steps.")
@click.option("--time-limit", type=Number(1e-6, 1e9, "h"), help="Of its training, in hours.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Of all random numbers. Default: 0.")
@click.option("--threads", type=THREADS, help="Default: OMP_NUM_THREADS, or all cores; for training as many as pay.")
@click.pass_context
def command(ctx: click.Context, /, resume: Path | None, **options: object) -> None:
    """Train a small model to be like the teacher in STRUCTURES, for so3md md --mts.

    STRUCTURES are files that ASE reads (of several frames, the last) or the example "water" (the default): what the
    student is for, and as large as need be to hold it, some hundred atoms. The teacher's dynamics takes frames of each,
    the student is trained on its forces, and the file of the student says how well it does. Frames and training lie in
    the directory of the same name; --resume goes on with it. Ctrl-C stops with everything saved.
    """
    place = launched()
    if place is not None and place.size > 1:
        raise click.UsageError("a distillation is the work of one process: start it without torchrun")
    given = [key for key in _ONLY_AT_START if options[key] not in (None, (), False)]
    if resume is not None:
        if given:
            name = "STRUCTURES" if given[0] == "structures" else f"--{given[0].replace('_', '-')}"
            raise click.UsageError(f"--resume goes on with the distillation of a directory as it is: no {name}")
        from so3md.distillation import Distillation

        with Distillation.resume(resume) as work:
            ctx.exit(_see_through(work))
    with _start(options) as work:
        ctx.exit(_see_through(work))


def _start(options: dict[str, object]) -> Distillation:
    from so3md.distillation import Distillation, Plan

    names = list(options["structures"]) or ["water"]  # type: ignore[call-overload]  # click's tuple of texts
    structures = [read_input(name, dict(_ONE_STRUCTURE)) for name in names]
    plan_options = {key: options[key] for key in Plan.__dataclass_fields__ if options.get(key) is not None}
    if os.path.exists(str(plan_options.get("teacher", ""))):
        plan_options["teacher"] = os.path.abspath(str(plan_options["teacher"]))
    if options["temperature"]:
        plan_options["temperatures"] = options["temperature"]
    plan = Plan(**plan_options)  # type: ignore[arg-type]  # it checks them
    warn_of_many_threads(plan.threads)
    output, overwrite = options["output"], bool(options["overwrite"])
    if output is None:
        output = Path("student.safetensors") if overwrite else _free_output()
    elif Path(str(output)).suffix != ".safetensors":
        raise click.UsageError(f"--output {output}: the name of a model file ends in .safetensors")
    output = Path(str(output))
    return Distillation.start(
        structures, plan, output.with_suffix(""), output, names=[Path(name).name for name in names], overwrite=overwrite
    )


def _free_output() -> Path:
    """student.safetensors, or another number of it of which neither the file nor the directory is there."""
    number = 1
    while True:
        path = Path("student.safetensors" if number == 1 else f"student-{number}.safetensors")
        if path == free_path(str(path)) and not path.with_suffix("").exists():
            return path
        number += 1


def _see_through(work: Distillation) -> int:
    """Sample, train, measure, and tell the user about it; returns the exit code."""
    console = make_console()
    plan = work.plan
    console.print(
        f"Student of {plan.teacher}: {plan.layers} layers, {plan.features} features, cutoff {plan.cutoff:g} A\n"
        f"{work.total_frames} frames of {', '.join(work.record['structures'])} at "
        f"{', '.join(f'{temperature:g} K' for temperature in plan.temperatures)}\n"
        f"Into {work.output}, by way of {work.directory}; Ctrl-C stops and saves",
        highlight=False,
        soft_wrap=True,
    )
    with GracefulStop() as stop:
        if not _sample(work, console, stop) or not _train(work, console, stop):
            console.print(
                f"Stopped, everything is saved. Go on with: so3md distill --resume {work.directory}",
                highlight=False,
                soft_wrap=True,
            )
            return stop.exit_code
    from so3md.distillation.report import describe, share_of_error

    report = work.finish()
    advice = f"Take it with: so3md md STRUCTURE --mts --student {os.path.relpath(work.output)}"
    if (share := share_of_error(report)) > _LARGEST_SHARE:
        advice = (
            f"It has learned too little: the difference is {100 * share:.0f} % of the teacher's forces (rms). So outer "
            "steps would have to be short. Distil it again with more --epochs, or more --frames"
        )
    console.print(f"{describe(report)}\nThe student: {work.output}\n{advice}", highlight=False, soft_wrap=True)
    return 0


def _sample(work: Distillation, console: Console, stop: GracefulStop) -> bool:
    total = work.total_frames
    with ProgressBar(console, total) as bar:

        def update(done: int) -> None:
            if done == total or bar.due():
                bar.show(done, "frames", f"{done} of {total} frames")

        return work.sample(update, lambda: stop.requested)


def _train(work: Distillation, console: Console, stop: GracefulStop) -> bool:
    from so3md.cli.training_display import TrainingDisplay

    with work.training() as run, TrainingDisplay(run, console) as display:
        run.train(display.update, display.validated, lambda: stop.requested)
        return run.trainer.stop_reason is not None
