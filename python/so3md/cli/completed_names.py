"""What a shell may complete where a structure or a model is expected: names that so3md knows, and files."""

from __future__ import annotations

import glob
from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem


def structure_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Examples, and files."""
    from so3md.structures import EXAMPLES

    return _names_or_files(EXAMPLES, incomplete)


def model_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Models that have a name, and files."""
    from so3md.loading import known_models

    return _names_or_files(known_models(), incomplete)


def _names_or_files(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Names, unless there is a file that may be meant: bash completes files only where it is given nothing else."""
    found = [name for name in names if name.startswith(incomplete)]
    if incomplete and glob.glob(f"{glob.escape(incomplete)}*"):
        found = []
    return [*map(CompletionItem, found), CompletionItem(incomplete, type="file")]
