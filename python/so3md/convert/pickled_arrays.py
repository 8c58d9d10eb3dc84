"""Stand-ins for NumPy arrays, for JAX arrays, which are pickled as NumPy arrays, and for FrozenDict of flax."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from so3md.convert.errors import ConversionError
from so3md.convert.pickle_reader import Global, Stub

_DTYPES = frozenset(["f4", "f8", "i4", "i8"])
MAX_ARRAY_BYTES = 1 << 30


class PickledDtype(Stub):
    """numpy.dtype("f4", False, True) and its state (version, byte order, ...)."""

    def __init__(self, code: str, align: Any = False, copy: Any = True) -> None:
        if code not in _DTYPES:
            raise ConversionError(f"an array has the data type {code!r}; known are " + ", ".join(sorted(_DTYPES)))
        self.dtype = np.dtype("<" + code)

    def set_state(self, state: Any) -> None:
        order, *structure = state[1:5]
        if order not in ("<", ">") or any(part is not None for part in structure):
            raise ConversionError("an array has a structured data type: refused")
        self.dtype = self.dtype.newbyteorder(order)


class PickledArray(Stub):
    """numpy.ndarray: made empty, then given a state (version, shape, dtype, Fortran order, bytes).

    The array is a view of the bytes of the file: a file cannot make many copies of one large piece of data.
    """

    def __init__(self) -> None:
        self.array: np.ndarray | None = None

    def set_state(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.array = array_from_bytes(data, dtype, shape, "F" if fortran else "C").array


def array_from_bytes(data: Any, dtype: Any, shape: Any, order: str) -> PickledArray:
    """The array with these bytes; checks that there are as many as the shape says."""
    if not isinstance(dtype, PickledDtype) or not isinstance(data, bytes | bytearray) or order not in ("C", "F"):
        raise ConversionError("an array in a form that is not known")
    shape = checked_shape(shape)
    axes: Literal["C", "F"] = "C" if order == "C" else "F"
    if len(data) != math.prod(shape) * dtype.dtype.itemsize:
        raise ConversionError(f"an array of the shape {shape} has {len(data)} bytes")
    result = PickledArray()
    result.array = np.frombuffer(data, dtype.dtype).reshape(shape, order=axes)
    return result


def checked_shape(shape: Any) -> tuple[int, ...]:
    """A shape that comes from a file: not negative, few axes, not too large."""
    if not isinstance(shape, tuple | list) or len(shape) > 8 or not all(type(n) is int and n >= 0 for n in shape):
        raise ConversionError(f"an array has the shape {shape!r}")
    if math.prod(shape) * 8 > MAX_ARRAY_BYTES:
        raise ConversionError(f"an array has the shape {tuple(shape)}, which is too large for a model")
    return tuple(shape)


def _empty_array(kind: Any, shape: Any, code: Any) -> PickledArray:
    if not isinstance(kind, Global) or kind.name != "numpy.ndarray":
        raise ConversionError("a subclass of numpy.ndarray: refused")
    return PickledArray()


def _ndarray(*_: Any) -> PickledArray:
    return PickledArray()


def _scalar(dtype: Any, data: Any) -> PickledArray:
    return array_from_bytes(data, dtype, (), "C")


def _jax_array(function: Any, arguments: Any, state: Any, attributes: Any) -> PickledArray:
    array = function.build(*arguments) if isinstance(function, Global) else None
    if not isinstance(array, PickledArray):
        raise ConversionError("a JAX array in a form that is not known")
    array.set_state(state)
    return array


def _encode(text: Any, encoding: Any) -> bytes:
    """How protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ConversionError("bytes in a form that is not known")
    return text.encode("latin1")


def _plain_dict(*arguments: Any) -> dict[Any, Any]:
    contents = arguments[0] if arguments else {}
    if len(arguments) > 1 or not isinstance(contents, dict):
        raise ConversionError("a dictionary in a form that is not known")
    return contents


def array_globals() -> dict[str, Callable[..., Any]]:
    """Every global that parameter pickles of NumPy, JAX and flax need, with its stand-in."""
    found: dict[str, Callable[..., Any]] = {
        "numpy.ndarray": _ndarray,
        "numpy.dtype": PickledDtype,
        "_codecs.encode": _encode,
        "collections.OrderedDict": _plain_dict,
        "flax.core.frozen_dict.FrozenDict": _plain_dict,
        "jax._src.array._reconstruct_array": _jax_array,
        "jax._src.device_array.reconstruct_device_array": _jax_array,
    }
    for core in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
        found[f"{core}.multiarray._reconstruct"] = _empty_array
        found[f"{core}.multiarray.scalar"] = _scalar
        found[f"{core}.numeric._frombuffer"] = array_from_bytes
    return found
