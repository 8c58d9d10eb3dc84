"""so3md convert: a model file from other formats."""

from __future__ import annotations

from pathlib import Path

import click

from so3md.cli.common import Command


@click.command("convert", cls=Command)
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace an existing TARGET.")
def command(source: Path, target: Path, overwrite: bool) -> None:
    """Make the model file TARGET (.safetensors) from SOURCE.

    SOURCE is a .model file of so3krates-torch, or a directory with the parameters of the original JAX program
    (params.pkl with hyperparameters.json or .yaml). Nothing in it is executed, and neither torch nor JAX is needed.
    """
    from so3md.convert import convert

    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists; choose another name, or --overwrite")
    convert(source, target)
    click.echo(f"Wrote {target}; so3md info {target} says what it is")
