"""Strict reading of YAML into dataclasses: every key is known, every value has its type, messages name the key."""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from so3md.bounded_yaml import YamlError, read_mapping, shown
from so3md.nearest_name import closest

T = TypeVar("T")
#: Numbers nearer to zero are none that anybody means, and vanish in single precision.
_SMALLEST = 1e-12


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the key, what was expected and what was found."""


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping of a YAML file. Raises ConfigError for what is none, OSError if it cannot be read."""
    try:
        return read_mapping(path)
    except YamlError as error:
        raise ConfigError(str(error)) from error


def build(cls: Callable[..., T], document: Any, where: str = "") -> T:
    """An instance of a dataclass from a mapping; nested dataclasses come from nested mappings."""
    if not isinstance(document, dict):
        raise ConfigError(f"{where or 'the configuration'}: expected keys and values, found {shown(document)}")
    prefix = f"{where}." if where else ""
    hints = get_type_hints(cls)
    known = {field.name: field for field in fields(cast(Any, cls))}
    for key in document:
        if key not in known:
            raise ConfigError(f"{prefix}{key}: unknown key; {closest(key, known)}")
    values = {}
    for name, field in known.items():
        if name in document:
            values[name] = convert(hints[name], document[name], prefix + name)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{prefix}{name}: the key is missing")
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{prefix}{error}") from error


def convert(kind: Any, value: Any, where: str) -> Any:
    """The value as the type of a field says, or a ConfigError that names the key."""
    if kind is Any:
        return value
    if isinstance(kind, type) and is_dataclass(kind):
        return build(kind, value, where)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _convert_union(get_args(kind), value, where)
    if origin is list:
        if not isinstance(value, list):
            raise ConfigError(f"{where}: expected a list, found {shown(value)}")
        return [convert(get_args(kind)[0], item, f"{where}[{number}]") for number, item in enumerate(value)]
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: expected keys and values, found {shown(value)}")
        return {str(key): convert(get_args(kind)[1], item, f"{where}.{key}") for key, item in value.items()}
    return _convert_plain(kind, value, where)


def _convert_plain(kind: type, value: Any, where: str) -> Any:
    if kind is float:
        number = _as_number(value)
        if number is None or not math.isfinite(number):
            raise ConfigError(f"{where}: expected a number, found {shown(value)}")
        if 0 < abs(number) < _SMALLEST:
            raise ConfigError(
                f"{where}: expected 0, or a number of at least {_SMALLEST:g} in size, found {shown(value)}"
            )
        return number
    names = {int: "an integer", bool: "true or false", str: "a text", type(None): "null"}
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{where}: expected {names.get(kind, kind.__name__)}, found {shown(value)}")
    if value == "":
        raise ConfigError(f"{where}: expected a text, found an empty one")
    return value


def _convert_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    # A whole number stays one where both are allowed (1 structure, not all of them).
    ordered = sorted(kinds, key=lambda kind: (kind is not int, kind is str, kind is float))
    messages = []
    for kind in ordered:
        try:
            return convert(kind, value, where)
        except ConfigError as error:
            # A mapping can only have been meant for the kind that is made of keys: its complaint is the useful one.
            if isinstance(value, dict) and is_dataclass(kind):
                raise
            messages.append(str(error).split("expected ", 1)[-1].split(", found")[0])
    raise ConfigError(f"{where}: expected {' or '.join(dict.fromkeys(messages))}, found {shown(value)}")


def _as_number(value: Any) -> float | None:
    """A number; also one that YAML takes for a text because it has an exponent but no point, such as 1e-3."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return None
    if isinstance(value, str) and value[:1] in "+-.0123456789":
        try:
            return float(value)
        except ValueError:
            return None
    return None
