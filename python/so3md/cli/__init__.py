"""The command line `so3md`. Each command lies in a module of its own, imported only when it is called for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

#: Command -> module of this package that defines it under the name `command`, and its line in the help.
_COMMANDS = {
    "md": ("md", "Run molecular dynamics."),
    "relax": ("relax", "Relax a structure, and its cell if asked."),
    "lammps": ("lammps", "Write input files for LAMMPS."),
    "eval": ("evaluate", "Compare energies and forces with a data set."),
    "info": ("info", "Say what a model is."),
    "analyse": ("analyse", "Analyse a run or a trajectory."),
    "bench": ("bench", "Measure time and memory on this machine."),
    "train": ("train", "Train a model on reference data."),
    "finetune": ("finetune", "Go on training an existing model on other data."),
    "select": ("select", "Choose structures that say most."),
    "label": ("label", "Compute reference values with a calculator of ASE."),
    "distill": ("distill", "Train a small student of a model, for multiple time steps."),
    "convert": ("convert", "Make a model file from another format."),
    "doctor": ("doctor", "Say what works on this machine, and what to do."),
    "completion": ("completion", "Print what lets the shell complete names of commands and options."),
}


class _LazyGroup(click.Group):
    """Knows its commands by name and loads the one that is called, so that `so3md --help` answers at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        return import_module(f"so3md.cli.{_COMMANDS[cmd_name][0]}").command

    def invoke(self, ctx: click.Context) -> Any:
        """Give Ctrl-C, in commands that save nothing on it, the exit code that shells know, and no traceback."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Stopped by Ctrl-C", err=True)
            raise click.exceptions.Exit(130) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            from so3md.nearest_name import closest

            raise click.UsageError(f"no such command {args[0]!r}: {closest(args[0], _COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from so3md.build_facts import version_lines

        click.echo("\n".join(version_lines()))
        ctx.exit()


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show it and the build."
)
def main() -> None:
    """Molecular dynamics with So3krates force fields.

    Begin with `so3md md`, which runs 64 molecules of water.
    """
