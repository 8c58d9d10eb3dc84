"""The C interface (include/so3md/so3md.h) through ctypes, for tests: its structs, field by field, and its functions."""

from __future__ import annotations

import ctypes
import re
from ctypes import POINTER, byref, c_char_p, c_double, c_int32, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from so3md.config import library_path

HEADER = Path(__file__).parents[1] / "include" / "so3md" / "so3md.h"

OK, INPUT, MODEL, VERSION, MEMORY, RUNTIME = range(6)
ENERGY, FORCES, ATOMIC_VIRIALS = 0, 1, 2
MIXED, DOUBLE = 0, 1
CUTOFF, EWALD = 0, 1
SUM, MESH = 1, 2  # ewald_method


class ModelInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("num_elements", c_int64),
        ("elements", POINTER(c_int32)),
        ("cutoff", c_double),
        ("lr_cutoff_periodic", c_double),
        ("lr_cutoff_molecules", c_double),
        ("lr_damping", c_double),
        ("has_long_range", c_int32),
        ("has_charges", c_int32),
        ("has_hirshfeld_ratios", c_int32),
        ("reserved", c_int32),
        ("metadata", c_char_p),
        ("has_c6_ratios", c_int32),
        ("reserved2", c_int32),
    ]


class Options(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("precision", c_int32),
        ("threads", c_int32),
        ("device", c_char_p),
        ("lr_cutoff", c_double),
        ("lr_damping", c_double),
        ("skin", c_double),
        ("coulomb", c_int32),
        ("ewald_method", c_int32),
        ("ewald_accuracy", c_double),
        ("dispersion_tail", c_int32),
        ("reserved2", c_int32),
        ("electric_field", c_double * 3),
    ]


class System(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("num_atoms", c_int64),
        ("atomic_numbers", c_void_p),
        ("positions", c_void_p),
        ("cell", c_void_p),
        ("pbc", c_int32 * 3),
        ("reserved", c_int32),
        ("charge", c_double),
        ("spin", c_double),
    ]


class Results(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("num_atoms", c_int64),
        ("energy", c_double),
        ("energy_network", c_double),
        ("energy_repulsion", c_double),
        ("energy_electrostatics", c_double),
        ("energy_dispersion", c_double),
        ("energies", POINTER(c_double)),
        ("forces", POINTER(c_double)),
        ("atomic_virials", POINTER(c_double)),
        ("charges", POINTER(c_double)),
        ("hirshfeld_ratios", POINTER(c_double)),
        ("virial", c_double * 9),
        ("stress", c_double * 6),
        ("volume", c_double),
        ("has_stress", c_int32),
        ("reserved", c_int32),
        ("c6_ratios", POINTER(c_double)),
    ]

    def array(self, name: str, *shape: int) -> np.ndarray | None:
        """A copy of the numbers (n, *shape) of atoms; None where the pointer is NULL."""
        pointer = getattr(self, name)
        return np.ctypeslib.as_array(pointer, (self.num_atoms, *shape)).copy() if pointer else None


def open_library(path: Path | None = None) -> ctypes.CDLL:
    """The library, that of the package if no path is given, with the types of what its functions return."""
    library = ctypes.CDLL(str(path or library_path()))
    for name in ("last_error", "version", "engine_warnings"):
        getattr(library, f"so3md_{name}").restype = c_char_p
    for name in ("model_destroy", "engine_destroy"):
        getattr(library, f"so3md_{name}").restype = None
        getattr(library, f"so3md_{name}").argtypes = [c_void_p]
    library.so3md_engine_warnings.argtypes = [c_void_p]
    library.so3md_engine_create.argtypes = [c_void_p, c_void_p, c_void_p]
    library.so3md_model_get_info.argtypes = [c_void_p, c_void_p, c_size_t]
    library.so3md_evaluate.argtypes = [c_void_p, c_void_p, c_int32, c_void_p]
    for name in ("options", "system", "results"):
        getattr(library, f"so3md_{name}_init").argtypes = [c_void_p, c_size_t]
    return library


def declared_functions() -> set[str]:
    """The functions that the header declares."""
    return set(re.findall(r"^SO3MD_API [^()]*?\b(so3md_\w+)\(", HEADER.read_text(encoding="utf-8"), re.MULTILINE))


class CError(Exception):
    """A call that failed: its status, and the error text of the library."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Interface:
    """Calls of the library that raise CError."""

    def __init__(self, path: Path | None = None) -> None:
        self.library = open_library(path)

    def call(self, name: str, *arguments: Any) -> None:
        status = getattr(self.library, f"so3md_{name}")(*arguments)
        if status != OK:
            raise CError(status, self.library.so3md_last_error().decode())

    def model(self, name: str = "so3lr") -> c_void_p:
        handle = c_void_p()
        self.call("model_load", name.encode(), byref(handle))
        return handle

    def options(self, **values: Any) -> Options:
        options = Options()
        self.call("options_init", byref(options), ctypes.sizeof(options))
        for key, value in values.items():
            setattr(options, key, value)
        return options

    def engine(self, model: c_void_p, **options: Any) -> c_void_p:
        handle = c_void_p()
        self.call("engine_create", model, byref(self.options(**options)), byref(handle))
        return handle

    def system(self, atoms: Atoms, charge: float = 0.0, spin: float = 0.0) -> System:
        """The structure of ASE; arrays are kept alive by the struct."""
        system = System()
        self.call("system_init", byref(system), ctypes.sizeof(system))
        system.arrays = (
            np.ascontiguousarray(atoms.numbers, dtype=np.int32),
            np.ascontiguousarray(atoms.positions, dtype=float),
            np.ascontiguousarray(atoms.cell.array, dtype=float),
        )
        system.num_atoms = len(atoms)
        system.atomic_numbers, system.positions, system.cell = (array.ctypes.data for array in system.arrays)
        system.pbc[:] = [int(periodic) for periodic in atoms.pbc]
        system.charge, system.spin = charge, spin
        return system

    def evaluate(self, engine: c_void_p, system: System, what: int = FORCES) -> Results:
        results = Results()
        self.call("results_init", byref(results), ctypes.sizeof(results))
        self.call("evaluate", engine, byref(system), what, byref(results))
        return results

    def warnings(self, engine: c_void_p) -> str:
        return self.library.so3md_engine_warnings(engine).decode()
