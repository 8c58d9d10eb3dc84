"""JSON as the engine reads it (csrc/model/strict_json.cpp): both readers of model files take the same texts.

What JSON readers are known to disagree about is refused: repeated keys, numbers beyond a float, halves of surrogate
pairs, byte order marks, deep nesting. Integers beyond 64 bits, and "-0", are floats, as they are for the engine.
"""

from __future__ import annotations

import json
import math
from typing import Any

from so3md.model_checks import DEEPEST, ModelFileError

_SMALLEST_INTEGER, _LARGEST_INTEGER = -(1 << 63), (1 << 64) - 1


def parse_json(text: str | bytes, name: str) -> Any:
    """The value of a whole text, which messages call `name`. Raises ModelFileError."""
    try:
        text = text.decode() if isinstance(text, bytes) else text
        value = json.loads(
            text,
            object_pairs_hook=_object_without_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_float,
            parse_int=_integer,
        )
    except (json.JSONDecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{name} is not valid JSON ({error})") from error
    _check_depth_and_texts(value, name)
    return value


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        raise ModelFileError(f"{next(n for n in names if names.count(n) > 1)}: the key occurs twice")
    return result


def _refuse_constant(constant: str) -> None:
    raise ModelFileError(f"the header holds {constant}, which is not a JSON number")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ModelFileError(f"the header holds {_short(text)}, which is too large a number")
    return number


def _integer(text: str) -> int | float:
    # int() refuses texts of thousands of digits.
    if text == "-0" or len(text) > 20 or not _SMALLEST_INTEGER <= int(text) <= _LARGEST_INTEGER:
        return _float(text)
    return int(text)


def _check_depth_and_texts(value: Any, name: str) -> None:
    waiting = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if depth > DEEPEST:
            raise ModelFileError(f"{name} nests deeper than {DEEPEST} levels: not a model file")
        if isinstance(item, dict):
            waiting += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, list):
            waiting += [(part, depth + 1) for part in item]
        elif isinstance(item, str) and not _is_text(item):
            raise ModelFileError(
                f"{name} holds half a surrogate pair ({_short(ascii(item))}), which is not a character"
            )


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _short(text: str) -> str:
    return text if len(text) < 80 else text[:77] + "..."
