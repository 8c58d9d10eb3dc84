"""Checks from which the rules of the model file are put together (docs/model_file.md).

A check is a function of a value and the name under which messages speak of it; it raises `ModelFileError` for a wrong
value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

MAX_SIZE = 1 << 16

#: Numbers beyond these, squared or times a weight, leave the range of single precision (csrc/model/strict_json.h).
SMALLEST_NUMBER, LARGEST_NUMBER = 1e-15, 1e15

#: Deepest nesting of a document (csrc/model/strict_json.cpp).
DEEPEST = 32

#: Keys that stay reserved for what models of other programs have. A file that has one of them is refused, not misread.
UNSUPPORTED_FEATURES = (
    "degree_repeats",
    "simplified_hirshfeld",
    "theory_levels",
    "particle_mesh",
)


class ModelFileError(ValueError):
    """A model that cannot be read or written; the message says what was expected and what was found."""


Check = Callable[[Any, str], None]


def fail(key: str, expected: str, found: Any) -> None:
    text = json.dumps(found, default=repr)
    raise ModelFileError(f"{key}: expected {expected}, found {text if len(text) < 80 else text[:77] + '...'}")


def is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return False


def flag(value: Any, key: str) -> None:
    if not isinstance(value, bool):
        fail(key, "true or false", value)


def any_text(value: Any, key: str) -> None:
    if not isinstance(value, str):
        fail(key, "a text", value)


def size(minimum: int) -> Check:
    def check(value: Any, key: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= MAX_SIZE:
            fail(key, f"an integer from {minimum} to {MAX_SIZE}", value)

    return check


def positive_to(largest: float) -> Check:
    def check(value: Any, key: str) -> None:
        if not is_number(value) or not SMALLEST_NUMBER <= value <= largest:
            fail(key, f"a positive number, from {SMALLEST_NUMBER:g} to {largest:g}", value)

    return check


positive = positive_to(LARGEST_NUMBER)


def not_negative(value: Any, key: str) -> None:
    if not is_number(value) or not 0 <= value <= LARGEST_NUMBER:
        fail(key, f"a number that is not negative, up to {LARGEST_NUMBER:g}", value)


def one_of(names: Iterable[str]) -> Check:
    names = tuple(names)

    def check(value: Any, key: str) -> None:
        if value not in names:
            fail(key, "one of " + ", ".join(names), value)

    return check


def one_of_integers(numbers: tuple[int, ...]) -> Check:
    def check(value: Any, key: str) -> None:
        if type(value) is not int or value not in numbers:
            fail(key, " or ".join(map(str, numbers)), value)

    return check


def increasing_integers(low: int, high: int) -> Check:
    def check(value: Any, key: str) -> None:
        valid = isinstance(value, list) and value and all(type(item) is int and low <= item <= high for item in value)
        if not valid or any(a >= b for a, b in pairwise(value)):
            fail(key, f"a list of increasing integers from {low} to {high}", value)

    return check


def not_decreasing_integers(low: int, high: int, most: int) -> Check:
    def check(value: Any, key: str) -> None:
        valid = isinstance(value, list) and 0 < len(value) <= most
        valid = valid and all(type(item) is int and low <= item <= high for item in value)
        if not valid or any(a > b for a, b in pairwise(value)):
            fail(key, f"a list of at most {most} integers from {low} to {high} that do not decrease", value)

    return check


def record(fields: dict[str, Check], optional: dict[str, Check] | None = None) -> Check:
    """An object that has all keys of `fields`, perhaps some of `optional`, and no others."""
    known = fields | (optional or {})

    def check(value: Any, key: str) -> None:
        if not isinstance(value, dict):
            fail(key, "an object with the keys " + ", ".join(fields), value)
        prefix = f"{key}." if key else ""
        for name in value:
            if name in UNSUPPORTED_FEATURES and name not in known:
                raise ModelFileError(
                    f"{prefix}{name}: the model needs a feature that this version of so3md does not support yet"
                )
            if name not in known:
                raise ModelFileError(f"{prefix}{name}: unknown key; known are " + ", ".join(known))
        for name, check_field in known.items():
            if name in value:
                check_field(value[name], prefix + name)
            elif name in fields:
                raise ModelFileError(f"{prefix}{name}: the key is missing")

    return check


def variant(names: tuple[str, ...], common: dict[str, Check], extra: dict[str, dict[str, Check]]) -> Check:
    """An object with the key "type"; the type decides which other keys it has."""

    def check(value: Any, key: str) -> None:
        if not isinstance(value, dict) or "type" not in value:
            fail(key, 'an object with the key "type"', value)
        one_of(names)(value["type"], f"{key}.type")
        record({"type": any_text, **common, **extra.get(value["type"], {})})(value, key)

    return check


def or_null(check_value: Check) -> Check:
    def check(value: Any, key: str) -> None:
        if value is not None:
            check_value(value, key)

    return check


def any_object(value: Any, key: str) -> None:
    if not isinstance(value, dict):
        fail(key, "an object", value)


def list_of_texts(value: Any, key: str) -> None:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        fail(key, "a list of texts", value)


def exactly(expected: Any) -> Check:
    def check(value: Any, key: str) -> None:
        if value != expected or type(value) is not type(expected):
            fail(key, json.dumps(expected), value)

    return check
