"""Commands that train, which several processes may run together."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

import click

from so3md.cli.common import Command, more_than_cores
from so3md.torch_launch import LOST, STORE, end_with_launcher, launched, run_processes

_ARGUMENTS = "so3md.arguments"


def processes_option(function: Any) -> Any:
    """The number of processes, for a `TrainingCommand`."""
    text = "Processes on this machine that share each batch, with a GPU each, or their part of the cores. Default: 1."
    return click.option("--processes", type=click.IntRange(1, 1024), help=text)(function)


class TrainingCommand(Command):
    """A command that all processes run together that torchrun or its own option --processes has started.

    Only the first one prints, and if one fails, all end, with one message. The option is not passed to the function.
    """

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        found = launched()
        if found is not None and found.rank > 0:
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)
        own = [self.name or "", *args]
        context = super().make_context(info_name, args, *rest, **extra)
        context.meta[_ARGUMENTS] = own
        return context

    def invoke(self, ctx: click.Context) -> Any:
        processes = ctx.params.pop("processes")
        found = launched()
        if found is None:
            if processes is not None and processes > 1:
                if text := more_than_cores("processes", processes):  # at once: the start of many takes minutes
                    click.echo(f"Warning: {text}", err=True)
                ctx.exit(run_processes([sys.executable, "-m", "so3md", *ctx.meta[_ARGUMENTS]], processes))
            return super().invoke(ctx)
        if processes is not None and STORE not in os.environ:
            raise click.UsageError(f"--processes: torchrun has started {found.size} processes, which is their number")
        end_with_launcher()
        return self._invoke_with_others(ctx)

    def _invoke_with_others(self, ctx: click.Context) -> NoReturn:
        code = 0
        try:
            super().invoke(ctx)
        except click.exceptions.Exit as ended:
            code = ended.exit_code
        except click.ClickException as error:
            _fail(error, error.exit_code)
        except KeyboardInterrupt as error:
            _fail(error, 130)
        _leave()
        _exit(code)


def _leave() -> None:
    # Only if it was imported, as it is where there is a team.
    if "so3md.training.processes" in sys.modules:
        from so3md.training.processes import present_team

        team = present_team()
        if team is not None:
            team.close()


def _fail(error: BaseException, code: int) -> NoReturn:
    """End with the error, shown if this is the first process that has one; the others find that this one is gone."""
    from so3md.training.processes import ProcessLostError, present_team

    lost = isinstance(error.__cause__, ProcessLostError)
    if lost and STORE in os.environ:
        _exit(LOST)  # so3md.torch_launch tells what became of the other
    found, members = launched(), present_team()
    first = (found is not None and found.local_rank == 0) if members is None else members.first_to_fail()
    if first:
        sys.stderr = sys.__stderr__
        if isinstance(error, click.ClickException):
            error.show(sys.__stderr__)
        else:
            click.echo("Interrupted", err=True)
    _exit(code)


def _exit(code: int) -> NoReturn:
    """End at once. What belongs to the group of processes would wait for those that are gone, and threads of PyTorch
    that outlive the interpreter can abort a process that has done all its work."""
    for stream in (sys.stdout, sys.__stdout__, sys.stderr, sys.__stderr__):
        if stream is not None:
            stream.flush()
    os._exit(code)
