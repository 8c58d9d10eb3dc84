"""python/so3md/_engine.pyi says what the compiled module has: names, parameters and their defaults."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from so3md import _engine

STUB = Path(_engine.__file__).with_name("_engine.pyi")
if not STUB.is_file():  # the module of another build, beside which no Python files lie
    import so3md

    STUB = Path(so3md.__file__).with_name("_engine.pyi")


def members(body: list[ast.stmt]) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef)}


def parameters(arguments: ast.arguments) -> dict[str, tuple[str, str | None]]:
    """Name -> kind and default; of what is called as a method, without self."""
    found = {}
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
    for group, kind, values in (
        (positional, "positional", defaults),
        (arguments.kwonlyargs, "by name", arguments.kw_defaults),
    ):
        for argument, default in zip(group, values, strict=True):
            found[argument.arg] = kind, default and ast.unparse(default)
    found.pop("self", None)
    return found


def compiled_parameters(function: Any) -> dict[str, tuple[str, str | None]]:
    """The same of a function of the module, whose documentation begins with its signature."""
    signature = (function.__doc__ or "").splitlines()[0]
    (node,) = ast.parse(f"def {signature}: ...").body
    assert isinstance(node, ast.FunctionDef)
    return parameters(node.args)


STUBBED = ast.parse(STUB.read_text())
CLASSES = {node.name: node for node in STUBBED.body if isinstance(node, ast.ClassDef) and node.name[0] != "_"}
COMPILED_CLASSES = {name: value for name, value in vars(_engine).items() if isinstance(value, type)}


def test_the_stub_has_the_names_of_the_module() -> None:
    public = {name for name in vars(_engine) if not name.startswith("_")}
    assert members(STUBBED.body).keys() | CLASSES.keys() == public
    assert CLASSES.keys() == COMPILED_CLASSES.keys()


@pytest.mark.parametrize("name", members(STUBBED.body))
def test_functions(name: str) -> None:
    assert parameters(members(STUBBED.body)[name].args) == compiled_parameters(getattr(_engine, name))


@pytest.mark.parametrize("name", CLASSES)
def test_classes(name: str) -> None:
    own, compiled = members(CLASSES[name].body), COMPILED_CLASSES[name]
    assert [ast.unparse(base) for base in CLASSES[name].bases] == [
        base.__name__ for base in compiled.__bases__ if base.__module__ == "builtins" and issubclass(base, Exception)
    ]
    has = {key for key in vars(compiled) if not key.startswith("_")} | ({"__init__"} & own.keys())
    assert own.keys() == has
    for key, method in own.items():
        if isinstance(vars(compiled)[key], property):
            assert [ast.unparse(decorator) for decorator in method.decorator_list] == ["property"], key
        else:
            assert parameters(method.args) == compiled_parameters(getattr(compiled, key)), key


def test_the_package_says_that_it_is_typed() -> None:
    assert STUB.with_name("py.typed").is_file()
