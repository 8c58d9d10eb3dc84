"""so3md convert: a model file from other formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from so3md.cli.common import Command


@click.command("convert", cls=Command)
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--elements", help="What the model was trained for, such as H,C,O. Needed for all but SO3LR.")
@click.option("--theory-level", type=click.IntRange(min=0), help="Which level of theory, where SOURCE has several.")
@click.option("--name", help="Name of the model. Default: that of SOURCE.")
@click.option("--description", default="", help="What the model is for.")
@click.option("--citation", multiple=True, help="A publication to cite; may be given several times.")
@click.option("--license", "licence", default="", help="Name of its licence, such as MIT.")
@click.option(
    "--license-text", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="File with its text."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing TARGET.")
def command(
    source: Path,
    target: Path,
    elements: str | None,
    licence: str,
    license_text: Path | None,
    overwrite: bool,
    **about: Any,
) -> None:
    """Make the model file TARGET (.safetensors) from SOURCE.

    SOURCE is a .model file of so3krates-torch, or its weights (NAME.pt with NAME_settings.yaml beside it), or a
    directory with the parameters of the original JAX program (params.pkl with hyperparameters.json or .yaml). Nothing
    in it is executed, and neither torch nor JAX is needed.
    """
    from so3md.convert import TheoryLevelMissing, convert

    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists; choose another name, or --overwrite")
    try:
        report = convert(
            source,
            target,
            elements=None if elements is None else [symbol.strip() for symbol in elements.split(",")],
            license=licence,
            license_text=license_text.read_text(encoding="utf-8") if license_text else "",
            **about,
        )
    except TheoryLevelMissing as error:
        click.echo(error.levels)
        raise
    click.echo(report)
