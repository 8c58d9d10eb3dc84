"""so3md: molecular dynamics with the So3krates family of machine-learned force fields.

`So3kratesCalculator` gives any ASE script energies, forces, stress and charges; `evaluate_many` does so for many
structures at once; `load_model` opens a model file; the command line is `so3md`. The names are imported when they are
first used, so that `import so3md` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from so3md.mpi_exit import watch

if TYPE_CHECKING:
    from so3md.batch import evaluate_many
    from so3md.calculator import So3kratesCalculator
    from so3md.loading import load_model

    __version__: str

__all__ = ["So3kratesCalculator", "__version__", "evaluate_many", "load_model"]

_HOMES = {
    "So3kratesCalculator": "so3md.calculator",
    "evaluate_many": "so3md.batch",
    "load_model": "so3md.loading",
}


watch()


def _installed_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("so3md")
    except PackageNotFoundError:  # used from a source tree that was never installed
        return "0+unknown"


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value = _installed_version()
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
