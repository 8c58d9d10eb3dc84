"""so3md select: the structures of files that say most, by the features of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from ase import Atoms

from so3md.cli.common import Command, charge_options, format_option, free_path, one_model_option
from so3md.cli.structure_output import StructureOutput, refuse_existing
from so3md.data_sets import read_frames


@click.command("select", cls=Command)
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--count", "-n", type=click.IntRange(1, 10**6), default=20, show_default=True, help="How many.")
@one_model_option("Whose features count.")
@click.option(
    "--known",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Structures that are there already, such as the training set: the new ones are far from these as well.",
)
@click.option("--index", default=":", show_default=True, help="Frames of FILES, as ASE writes slices.")
@format_option
@charge_options
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Default: selected.xyz.")
@click.option("--overwrite", is_flag=True, help="Replace the output.")
def command(
    files: tuple[Path, ...], count: int, model: str, known: tuple[Path, ...], output: Path | None, **options: Any
) -> None:
    """Choose structures of FILES that differ most from each other, and from those of --known.

    The features of a structure are the means over the atoms of each element, after the last layer of the model. The
    next structure is always the one that is farthest from those before (farthest-point sampling). Energies and forces
    of the files are not kept: so3md label computes them. All else that the files say is kept.
    """
    from so3md.last_layer import farthest
    from so3md.loading import load_model
    from so3md.structures.values import drop_reference_values

    path = output or (Path("selected.xyz") if options["overwrite"] else free_path("selected.xyz"))
    refuse_existing(path, "--output", options["overwrite"])
    states = {key: options[key] for key in ("charge", "spin")}
    frames = [atoms for file in files for _, atoms in read_frames(file, options["index"], options["format"], **states)]
    others = [atoms for file in known for _, atoms in read_frames(file, **states)]
    opened = load_model(model)
    rows = structure_features(opened, [*frames, *others])
    chosen = farthest(rows[: len(frames)], count, rows[len(frames) :])
    for number in chosen:
        drop_reference_values(frames[number])
    StructureOutput(path).write([frames[number] for number in chosen])
    click.echo(f"{len(chosen)} of {len(frames)} structures in {path}")
    if len(chosen) < min(count, len(frames)):
        click.echo("The others are no different from these.")


def structure_features(model: Any, structures: list[Atoms]) -> np.ndarray:
    """Features (structures, elements * F) of structures: means over the atoms of each element; zero where it lacks."""
    from so3md.last_layer import features_of

    rows = []
    for atoms, features in zip(structures, features_of(model, structures), strict=True):
        masks = [atoms.numbers == z for z in model.elements]
        means = [features[mask].mean(axis=0) if mask.any() else np.zeros(features.shape[1]) for mask in masks]
        rows.append(np.concatenate(means))
    return np.array(rows)
