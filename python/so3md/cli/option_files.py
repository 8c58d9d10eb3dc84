"""--config: options of a command from a YAML file, and the file from which a run can be repeated."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from so3md.loading import known_models
from so3md.nearest_name import closest

#: Options that are no part of what is run, and those that belong to one run alone.
_OF_THE_CALL = ("config", "debug", "json_file")
_OF_ONE_RUN = (*_OF_THE_CALL, "output", "overwrite", "resume", "replicas")
#: Options with the name of a model, or its path.
_MODELS = ("model", "student")


def config_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --config to a command."""
    return click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_take_file,
        help="YAML file with options by their long names; the command line wins.",
    )(function)


def _take_file(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Let what the file says be the values of options that the command line does not have."""
    if path is not None and not ctx.resilient_parsing:
        ctx.default_map = {**(ctx.default_map or {}), **_values(ctx, path)}


def _values(ctx: click.Context, path: Path) -> dict[str, Any]:
    try:
        from so3md.bounded_yaml import YamlError, read_mapping
    except ImportError as error:
        raise click.ClickException(f"--config needs PyYAML: pip install 'pyyaml>=6.0' ({error})") from error
    try:
        given = read_mapping(path)
    except (YamlError, OSError) as error:
        raise click.ClickException(str(error)) from error
    known = {_long_name(item): item for item in ctx.command.params if item.name not in _OF_THE_CALL}
    values: dict[str, Any] = {}
    for key, value in given.items():
        name = str(key).replace("_", "-")
        if name not in known:
            raise click.UsageError(f"{path}: {key}: no such option; {closest(name, known)}", ctx)
        item = known[name]
        if item.name in values:
            raise click.UsageError(f"{path}: {key}: the option stands twice", ctx)
        values[str(item.name)] = _checked(ctx, item, value, f"{path}: {key}")
    return values


def _long_name(item: click.Parameter) -> str:
    """The name of an option without its dashes; of an argument, as in the help, in lower case."""
    if isinstance(item, click.Argument):
        return str(item.name)
    return max(item.opts, key=len).lstrip("-")


def _checked(ctx: click.Context, item: click.Parameter, value: Any, where: str) -> Any:
    """The value, if the option takes it. Raises UsageError, naming file and key."""
    from so3md.bounded_yaml import shown

    if isinstance(item, click.Option) and item.is_flag:
        if not isinstance(value, bool):
            raise click.UsageError(f"{where}: expected true or false, found {shown(value)}", ctx)
        return value
    count = item.nargs
    if item.multiple:
        value = value if isinstance(value, list) else [value]
        return [_checked_value(ctx, item, part, where, count) for part in value]
    return _checked_value(ctx, item, value, where, count)


def _checked_value(ctx: click.Context, item: click.Parameter, value: Any, where: str, count: int) -> Any:
    from so3md.bounded_yaml import shown

    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(part, str | int | float) and not isinstance(part, bool) for part in parts):
        raise click.UsageError(f"{where}: expected {_expected(count)}, found {shown(value)}", ctx)
    if isinstance(value, list) != (count != 1) or (count != 1 and len(parts) != count):
        raise click.UsageError(f"{where}: expected {_expected(count)}, found {shown(value)}", ctx)
    try:
        item.type_cast_value(ctx, (value,) if item.multiple else value)
    except click.BadParameter as error:
        raise click.UsageError(f"{where}: {error.message}", ctx) from error
    return value


def _expected(count: int) -> str:
    return "a number or a text" if count == 1 else f"a list of {count}"


def absolute_unless_name(model: str) -> str:
    """The path of a model in full; a name stays as it is."""
    return os.path.abspath(model) if os.path.exists(model) and model not in known_models() else model


def absolute_structure(structure: str) -> str:
    """The path of a structure in full; the name of an example stays as it is."""
    from so3md.structures import EXAMPLES, example_path

    return structure if structure in EXAMPLES else os.path.abspath(example_path(structure))


def effective_options(ctx: click.Context, replaced: Mapping[str, Any]) -> dict[str, Any]:
    """Long name -> value of all options of a command as they are used, defaults too, for `config_text`.

    replaced: name of a parameter -> what it has become; None, and what has no value, is left out.
    """
    found = {}
    for item in ctx.command.params:
        value = replaced.get(str(item.name), ctx.params.get(str(item.name)))
        if item.name not in _OF_ONE_RUN and value is not None:
            parts = list(value) if isinstance(value, tuple | list) else value
            one = isinstance(parts, list) and item.multiple and len(parts) == 1
            found[_long_name(item)] = parts[0] if one else parts
    return found


def command_line(ctx: click.Context, without: Iterable[str]) -> list[str]:
    """The options that were given, in a file or on the command line, as arguments for another call; paths absolute."""
    found: list[str] = []
    left_out = {*without, *_OF_THE_CALL}
    for item in ctx.command.params:
        default = ctx.get_parameter_source(str(item.name)) == click.core.ParameterSource.DEFAULT
        if not isinstance(item, click.Option) or item.name in left_out or default:
            continue
        value = ctx.params[str(item.name)]
        if item.is_flag:
            found += [max(item.opts, key=len)] if value else item.secondary_opts[-1:]
            continue
        parts = value if isinstance(value, tuple) else (value,)
        if item.name in _MODELS:
            parts = tuple(absolute_unless_name(part) for part in parts)
        name = max(item.opts, key=len)
        found += [text for part in parts for text in (name, part)] if item.multiple else [name, *map(str, parts)]
    return found


def config_text(options: Mapping[str, Any], heading: Iterable[str]) -> str:
    """A file for --config. Values are JSON, which is YAML."""
    lines = [f"# {line}" for line in heading]
    for name, value in options.items():
        text = os.fspath(value) if isinstance(value, os.PathLike) else value
        lines.append(f"{name}: {json.dumps(text, ensure_ascii=False)}")
    return "".join(f"{line}\n" for line in lines)


def without_rival(ctx: click.Context, one: str, other: str) -> tuple[Any, Any]:
    """The values of two parameters of which one excludes the other: that of a file gives way to that of the command
    line."""
    values = {name: ctx.params[name] for name in (one, other)}
    if all(value is not None for value in values.values()):
        for name in values:
            if ctx.get_parameter_source(name) == click.core.ParameterSource.DEFAULT_MAP:
                values[name] = None
    return values[one], values[other]
