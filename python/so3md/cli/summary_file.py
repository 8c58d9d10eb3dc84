"""--json FILE: what a command has found, for programs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

import so3md
from so3md.run_directory import write_json


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --json FILE to a command; its parameter is json_file."""
    return click.option(
        "--json",
        "json_file",
        type=click.Path(dir_okay=False, writable=True, path_type=Path),
        help="Also write the results to this file, for programs; it is replaced.",
    )(function)


def write_summary(path: Path | None, command: str, results: Mapping[str, Any]) -> None:
    """Write the results of a command, with its name and version, if a file is wanted. Raises OSError."""
    if path is not None:
        write_json(path, _plain({"command": command, "so3md": so3md.__version__, **results}))


def _plain(value: Any) -> Any:
    """The value for JSON, which has no nan: null stands for it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
