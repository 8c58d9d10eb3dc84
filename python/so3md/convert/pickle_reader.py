"""Reading a pickle without executing anything of it.

A pickle is a program for a stack machine that may call any function of any module. This machine knows the opcodes that
build plain data, and in place of functions and classes it has inert stand-ins from a table: nothing is imported, no
attribute is looked up, nothing outside the table is called. Every other global or opcode is refused by name.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from so3md.convert.errors import ConversionError

#: Far more than any model needs; a bound on the time that a hostile file can take.
MAX_OPCODES = 2_000_000

_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
_TEXTS = ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
_LITERALS = frozenset(_NUMBERS + _TEXTS + _BYTES)
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}


@dataclass(frozen=True)
class Global:
    """Stand-in for a function or class; `build` turns the arguments of a call into an inert value."""

    name: str
    build: Callable[..., Any]


class Stub:
    """An inert value to which a pickle may give a state, where a real object would have run code of its own."""

    def set_state(self, state: Any) -> None:
        raise NotImplementedError


def read_pickle(
    data: bytes,
    allowed: Mapping[str, Callable[..., Any]],
    refused: Mapping[str, str] | None = None,
    persistent_load: Callable[[Any], Any] | None = None,
) -> Any:
    """The value that a pickle describes, built of plain data and of what the functions in `allowed` return.

    allowed: "module.name" -> function of the pickled arguments. refused: "module.name" -> what to tell the user about a
    global that is known but not supported. persistent_load: for references to data outside the pickle.
    Raises ConversionError for anything else.
    """
    machine = _Machine(allowed, refused or {}, persistent_load)
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(data)):
            if count > MAX_OPCODES:
                raise ConversionError(f"the pickle has more than {MAX_OPCODES} instructions: not a model")
            try:
                machine.step(opcode.name, argument)
            except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
                if isinstance(error, ConversionError):
                    raise
                raise ConversionError(f"malformed pickle at byte {position}, {opcode.name}: {error}") from error
    except ConversionError:
        raise
    except (ValueError, IndexError, OverflowError, MemoryError) as error:
        raise ConversionError(f"truncated or not a pickle: {error}") from error
    return machine.result()


class _Machine:
    def __init__(
        self,
        allowed: Mapping[str, Callable[..., Any]],
        refused: Mapping[str, str],
        persistent_load: Callable[[Any], Any] | None,
    ) -> None:
        self.allowed, self.refused, self.persistent_load = allowed, refused, persistent_load
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.stopped = False

    def result(self) -> Any:
        if not self.stopped or len(self.stack) != 1:
            raise ConversionError("malformed pickle: it does not end with one value")
        return self.stack[0]

    def step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            self.stack.append(tuple(self.pop_many(_TUPLES[name])))
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self.stack.append(self.memo[argument])
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = self.stack[-1]
        else:
            method = getattr(self, "op_" + name, None)
            if method is None:
                raise ConversionError(f"the pickle uses the instruction {name}, which no model needs: refused")
            method(argument)

    def pop_many(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise IndexError("stack underflow")
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return values

    def pop_to_mark(self) -> list[Any]:
        values: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise TypeError(f"expected a {kind.__name__}, found a {type(self.stack[-1]).__name__}")
        return self.stack[-1]

    def op_PROTO(self, version: int) -> None:
        if version > 5:
            raise ConversionError(f"the pickle has protocol {version}; known are 0 to 5")

    def op_FRAME(self, size: int) -> None:
        """Frames only tell a reader how much to buffer."""

    def op_STOP(self, _: None) -> None:
        self.stopped = True

    def op_MARK(self, _: None) -> None:
        self.stack.append(_MARK)

    def op_POP(self, _: None) -> None:
        self.stack.pop()

    def op_POP_MARK(self, _: None) -> None:
        self.pop_to_mark()

    def op_DUP(self, _: None) -> None:
        self.stack.append(self.stack[-1])

    def op_MEMOIZE(self, _: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def op_TUPLE(self, _: None) -> None:
        self.stack.append(tuple(self.pop_to_mark()))

    def op_LIST(self, _: None) -> None:
        self.stack.append(self.pop_to_mark())

    def op_APPEND(self, _: None) -> None:
        value = self.stack.pop()
        self.top(list).append(value)

    def op_APPENDS(self, _: None) -> None:
        values = self.pop_to_mark()
        self.top(list).extend(values)

    def op_ADDITEMS(self, _: None) -> None:
        values = self.pop_to_mark()
        self.top(set).update(_plain_key(value) for value in values)

    def op_DICT(self, _: None) -> None:
        values = self.pop_to_mark()
        self.stack.append({})
        self.set_items(values)

    def op_SETITEM(self, _: None) -> None:
        self.set_items(self.pop_many(2))

    def op_SETITEMS(self, _: None) -> None:
        self.set_items(self.pop_to_mark())

    def set_items(self, values: list[Any]) -> None:
        target = self.top(dict)
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[_plain_key(key)] = value

    def op_GLOBAL(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.push_global(module, name)

    def op_STACK_GLOBAL(self, _: None) -> None:
        module, name = self.pop_many(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("the name of a global is not text")
        self.push_global(module, name)

    def push_global(self, module: str, name: str) -> None:
        full = f"{module}.{name}".replace("__builtin__.", "builtins.")
        if full in self.refused:
            raise ConversionError(f"{full}: {self.refused[full]}")
        if full not in self.allowed:
            raise ConversionError(
                f"the pickle asks for {full}, which is not part of a So3krates model: refused, nothing was executed"
            )
        self.stack.append(Global(full, self.allowed[full]))

    def op_REDUCE(self, _: None) -> None:
        function, arguments = self.pop_many(2)
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise ConversionError(
                "the pickle calls something that is not a known function: refused, nothing was executed"
            )
        self.stack.append(function.build(*arguments))

    op_NEWOBJ = op_REDUCE  # a class instead of a function

    def op_BUILD(self, _: None) -> None:
        state = self.stack.pop()
        self.top(Stub).set_state(state)

    def op_BINPERSID(self, _: None) -> None:
        if self.persistent_load is None:
            raise ConversionError("the pickle refers to data outside itself, which this kind of source does not have")
        self.stack.append(self.persistent_load(self.stack.pop()))


def _plain_key(key: Any) -> Any:
    if not isinstance(key, str | int | float | bytes | None):
        raise TypeError(f"a key is a {type(key).__name__}")
    return key
