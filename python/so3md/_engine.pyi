"""The engine (csrc/bindings). Lengths in A, energies in eV, charges in e, virials in eV; rows follow the atoms."""

import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Floats = NDArray[np.float64]
_Ints = NDArray[np.int32]

class ModelError(ValueError):
    """A file that is missing, truncated, altered, of another version, or not a model."""

class FailedElsewhere(RuntimeError):
    """Another process could not go on."""

class Model:
    """A So3krates model, read from a model file. Raises ModelError."""

    def __init__(self, path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> None: ...
    @property
    def path(self) -> str:
        """As it was given."""

    @property
    def metadata(self) -> str:
        """The JSON document of the file."""

    @property
    def elements(self) -> list[int]:
        """Atomic numbers that the model was trained for, increasing."""

    @property
    def cutoff(self) -> float:
        """Of short range."""

    @property
    def has_long_range(self) -> bool:
        """Whether it has terms beyond its cutoff."""

    @property
    def long_range_cutoff(self) -> float | None:
        """The cutoff that it was made for in periodic systems; None: it was not made for these."""

    @property
    def long_range_cutoff_molecules(self) -> float | None:
        """The same in systems without a periodic direction; None: it has none there."""

    @property
    def long_range_damping(self) -> float:
        """The width over which dispersion is switched off before the cutoff."""

    @property
    def num_parameters(self) -> int: ...
    @property
    def has_uncertainty(self) -> bool:
        """Whether it has what uncertainties of forces are made of."""

    def with_uncertainty(self, factor: ArrayLike, scale: float, exponent: float) -> Model:
        """The same model with this uncertainty, of a factor (h, h). Raises ModelError."""

class _Transport(Protocol):
    """What so3md.parallel.transport gives the engine."""

    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...
    def sum(self, values: _Floats, /) -> None: ...
    def transpose(self, send: _Ints, received: _Ints, /) -> None: ...
    def start(self, sends: list[tuple[int, memoryview]], receives: list[tuple[int, memoryview]], /) -> None: ...
    def finish(self) -> None: ...

class Engine:
    """Evaluates a model; keeps its neighbours between calls. With a transport, one of several that share the work."""

    def __init__(
        self,
        model: Model,
        precision: str = "mixed",
        threads: int = 0,
        lr_cutoff: float | None = 12.0,
        lr_damping: float = 2.0,
        skin: float = 0.5,
        tabulate: bool | None = None,
        transport: _Transport | None = None,
        skip_nonlocal: bool = True,
        device: str = "cpu",
        coulomb: str = "cutoff",
        ewald_accuracy: float | None = None,
        dispersion_tail: bool = False,
        electric_field: Sequence[float] = (0.0, 0.0, 0.0),
        ewald_method: str = "auto",
        keep_filters: bool | None = None,
    ) -> None: ...
    def evaluate(
        self,
        numbers: ArrayLike,
        positions: ArrayLike,
        cell: ArrayLike,
        pbc: Sequence[bool] | NDArray[np.bool_],
        charge: float = 0.0,
        spin: float = 0.0,
        forces: bool = True,
        virials: bool = False,
        potentials: ArrayLike | None = None,
        fields: ArrayLike | None = None,
    ) -> dict[str, Any]:
        """Energy, energies (n,), energy_components, forces (n, 3), virial (3, 3), virials (n, 3, 3), charges (n,),
        hirshfeld_ratios, c6_ratios and forces_uncertainty (n,): what is asked and what the model has. With a transport
        also the atoms (m,) of this process, whose rows these are, and neighbour_rebuilds. potentials (n,) in V and
        fields (n, 3) in V/A: external ones at the atoms, of which virials have no part.
        """

    def intermediates(
        self,
        numbers: ArrayLike,
        positions: ArrayLike,
        cell: ArrayLike,
        pbc: Sequence[bool] | NDArray[np.bool_],
        charge: float = 0.0,
        spin: float = 0.0,
    ) -> dict[str, Any]:
        """Features (n, features) and coordinates (n, coordinates) in every layer."""

    def heat_flux(
        self,
        numbers: ArrayLike,
        positions: ArrayLike,
        cell: ArrayLike,
        pbc: Sequence[bool] | NDArray[np.bool_],
        velocities: ArrayLike,
        charge: float = 0.0,
        spin: float = 0.0,
        shifts: bool = True,
    ) -> dict[str, Any]:
        """The parts potential (3,) and convective (3,), and what each of the atoms brings to them."""

    def polarization_current(
        self,
        numbers: ArrayLike,
        positions: ArrayLike,
        cell: ArrayLike,
        pbc: Sequence[bool] | NDArray[np.bool_],
        velocities: ArrayLike,
        charge: float = 0.0,
        spin: float = 0.0,
    ) -> NDArray[np.float64]:
        """The current of polarization (3), e A per unit of time of the velocities, summed over all processes."""

    def info(self) -> dict[str, Any]:
        """What it is, and what it has done so far."""

class BatchEngine:
    """Evaluates many structures at once, which come joined: their sizes, and the rows of their atoms in turn."""

    def __init__(
        self,
        model: Model,
        precision: str = "mixed",
        threads: int = 0,
        lr_cutoff: float | None = 12.0,
        lr_damping: float = 2.0,
        device: str = "cpu",
        coulomb: str = "cutoff",
        ewald_accuracy: float | None = None,
        dispersion_tail: bool = False,
        electric_field: Sequence[float] = (0.0, 0.0, 0.0),
        ewald_method: str = "auto",
    ) -> None: ...
    def evaluate(
        self,
        sizes: ArrayLike,
        numbers: ArrayLike,
        positions: ArrayLike,
        cells: ArrayLike,
        pbc: ArrayLike,
        charges: ArrayLike,
        spins: ArrayLike,
        forces: bool = True,
        virials: bool = False,
    ) -> dict[str, Any]:
        """As of Engine, of all atoms; energy (structures, 6); errors: a text for each structure, most often empty."""

    @property
    def threads(self) -> int: ...

class NeighbourList:
    """Pairs of atoms within a short and a long cutoff, with a skin."""

    def __init__(self, short_cutoff: float, long_cutoff: float = 0.0, skin: float = 0.5) -> None: ...
    def update(
        self, positions: ArrayLike, cell: ArrayLike, pbc: Sequence[bool] | NDArray[np.bool_], threads: int = 1
    ) -> bool:
        """Whether the lists were built again."""

    def short_pairs(self) -> tuple[_Ints, _Ints, _Floats]:
        """Atoms i and j (pairs,) and r_j - r_i (pairs, 3), in both directions."""

    def long_pairs(self) -> tuple[_Ints, _Ints, _Floats] | None: ...
    def domain(self) -> dict[str, Any]: ...
    def pair_blocks(self) -> dict[str, Any]: ...
    @property
    def order(self) -> list[int]: ...
    @property
    def updates(self) -> int: ...
    @property
    def rebuilds(self) -> int: ...

def device_name(name: str) -> str: ...
def check_charge_and_spin(protons: float, charge: float, spin: float) -> tuple[bool, str]: ...
def dispersion_tail(
    model: Model,
    numbers: ArrayLike,
    ratios: ArrayLike,
    cell: ArrayLike,
    pbc: Sequence[bool],
    lr_cutoff: float | None,
    lr_damping: float,
    c6_ratios: ArrayLike | None = None,
) -> float: ...
def point_charge_potentials(
    positions: ArrayLike,
    charges: ArrayLike,
    points: ArrayLike,
    cell: ArrayLike,
    pbc: Sequence[bool] | NDArray[np.bool_],
    width: float = 0.0,
    cutoff: float | None = None,
    threads: int = 1,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
def count_devices(device: str) -> int: ...
def measure_speed(device: str) -> dict[str, float]: ...
def default_threads() -> int: ...
def threads_in_environment() -> int | None: ...
def cpu_quota(root: str = "") -> float | None: ...
def instruction_sets() -> list[str]: ...
def processor_instruction_sets() -> list[str]: ...
def instruction_set() -> str: ...
def build_info() -> dict[str, Any]: ...

# What only tests and timings use.

def partition(
    positions: ArrayLike, cell: ArrayLike, pbc: Sequence[bool] | NDArray[np.bool_], num_processes: int
) -> _Ints: ...
def local_domain(
    positions: ArrayLike,
    cell: ArrayLike,
    pbc: Sequence[bool] | NDArray[np.bool_],
    owners: ArrayLike | None,
    process: int,
    short_radius: float,
    long_radius: float,
) -> dict[str, Any]: ...
def pair_physics(
    *,
    positions: ArrayLike,
    slot: ArrayLike,
    n_owned: int,
    offsets: ArrayLike | None = None,
    sites: ArrayLike | None = None,
    charge: ArrayLike,
    alpha: ArrayLike,
    c6_factor: ArrayLike,
    electrostatics: bool = True,
    dispersion: bool = True,
    sigma: float = 4.0,
    cutoff: float = 12.0,
    damping: float = 2.0,
    damping_scale: float = 1.2,
    virial: bool = True,
    precision: str = "double",
) -> dict[str, _Floats]: ...
def ewald_mesh(
    *,
    positions: ArrayLike,
    charges: ArrayLike,
    cell: ArrayLike,
    points: Sequence[int],
    order: int,
    sigma: float = 4.0,
    threads: int = 1,
    forces: bool = True,
    atomic_virials: bool = True,
) -> dict[str, NDArray[np.float64]]: ...
def fourier_mesh(mesh: ArrayLike, threads: int = 1) -> tuple[NDArray[np.complex128], NDArray[np.float64]]: ...
def ewald_plan(
    *,
    cell: ArrayLike,
    num_atoms: float,
    sigma: float = 4.0,
    accuracy: float,
    method: str = "auto",
    single_precision: bool = False,
    processes: float = 1.0,
) -> dict[str, Any]: ...
def zbl_edges(
    *,
    elements: Sequence[int],
    a_raw: Sequence[float],
    c_raw: Sequence[float],
    p_raw: float,
    d_raw: float,
    switch_on: float,
    switch_off: float,
    species_i: ArrayLike,
    species_j: ArrayLike,
    r: ArrayLike,
    phi: ArrayLike,
    dphi_dr: ArrayLike,
) -> tuple[_Floats, _Floats]: ...
def elementary_function(name: str, x: ArrayLike, precision: str) -> tuple[_Floats, _Floats]: ...
def moved_charge(
    positions: ArrayLike,
    rates: ArrayLike,
    moments: ArrayLike,
    cell: ArrayLike,
    pbc: Sequence[bool] | NDArray[np.bool_],
) -> _Floats: ...

class TrainingSweeps:
    def forward(self, x: int, out: int) -> None: ...
    def adjoint(self, by_out: int, distance: int, phi: int, harmonics: int) -> None: ...
    def tangent(self, distance: int, phi: int, harmonics: int, out: int) -> None: ...
    def gradient(self, by_out: int, by_x: int, by_basis: int, gradients: int) -> None: ...
    def evaluate(self, energies: int, forces: int) -> None: ...
    def differentiate(self, by_energies: int, by_forces: int, gradients: int) -> None: ...

class TrainingGeometry:
    def __init__(self, options: dict[str, Any]) -> None: ...
    def compute(self, pairs: int, displacement: int, arrays: Sequence[int], double_precision: bool) -> None: ...

class TrainingNetwork:
    def __init__(self, options: dict[str, Any]) -> None: ...
    def begin(
        self, batch: dict[str, int], tensors: Sequence[tuple[int, int]], gradient_size: int, threads: int
    ) -> TrainingSweeps: ...

def training_tensor_names() -> list[str]: ...
def training_groups(atoms: Sequence[int], pairs: Sequence[int]) -> list[int]: ...
