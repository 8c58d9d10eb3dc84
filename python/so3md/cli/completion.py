"""so3md completion: what lets a shell complete commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from so3md.cli.common import Command

SHELLS = ("bash", "zsh", "fish")


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, /, shell: str) -> None:
    """Print the script that lets SHELL complete `so3md`: commands, options, their values, models and examples.

    bash: add `eval "$(so3md completion bash)"` to ~/.bashrc; zsh: the same with zsh to ~/.zshrc; fish: write it to
    ~/.config/fish/completions/so3md.fish.
    """
    made = get_completion_class(shell)
    if made is None:
        raise ValueError(f"this version of click knows no completion for {shell}; pip install 'click>=8.1'")
    click.echo(made(ctx.find_root().command, {}, "so3md", "_SO3MD_COMPLETE").source())
