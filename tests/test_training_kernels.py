"""The kernels of training with threads, without PyTorch, so that all sanitizers can watch: always the same bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from so3md import _engine

FEATURES, HEADS, DEGREES, BASIS, RADIAL, SPHERICAL, LAYERS = 12, 2, [0, 1, 2], 8, 10, 6, 3
ELEMENTS, HIDDEN = 3, 10
OPTIONS: dict[str, Any] = {
    "features": FEATURES,
    "heads": HEADS,
    "degrees": DEGREES,
    "basis": BASIS,
    "radial_hidden": RADIAL,
    "spherical_hidden": SPHERICAL,
    "layers": LAYERS,
    "activation": "silu",
    "query_key_activation": "identity",
    "norm_1": True,
    "norm_2": True,
    "residual_1": True,
    "residual_2": True,
    "three_layers": False,
    "pre_norm": False,
    "final_norm": True,
    "neighbour_sum": False,
    "norm_epsilon": 1e-6,
    "score_factor": 0.4,
    "coordinate_score_factor": 0.5,
    "start_factor": 0.0,
    "energy_hidden": HIDDEN,
    "energy_activation": "silu",
}
#: Atoms of the structures, some without a pair.
COUNTS = [1, 9, 4, 9, 2, 7, 9, 9, 3, 8, 9, 1, 6]


def shapes() -> dict[str, tuple[int, ...]]:
    """Of the tensors of a layer, as so3md.training.fast_model has them."""
    width, by_degree = FEATURES // HEADS, FEATURES // len(DEGREES)
    exchange = FEATURES + len(DEGREES)
    dense = {
        f"mlp{number}_dense{k}_{kind}": (FEATURES,) * (2 if kind == "weight" else 1)
        for number in (1, 2)
        for k in (1, 2)
        for kind in ("weight", "bias")
    }
    norms = {f"norm{number}_{kind}": (FEATURES,) for number in (1, 2) for kind in ("scale", "bias")}
    return {
        "radial1_weight": (2, RADIAL, BASIS),
        "radial1_bias": (2, RADIAL),
        "radial2_weight": (2, FEATURES, RADIAL),
        "radial2_bias": (2, FEATURES),
        "spherical1_weight": (2, SPHERICAL, len(DEGREES)),
        "spherical1_bias": (2, SPHERICAL),
        "spherical2_weight": (2, FEATURES, SPHERICAL),
        "spherical2_bias": (2, FEATURES),
        "query_key_value": (HEADS, width, 3, width),
        "query_key_coordinates": (len(DEGREES), by_degree, 2, by_degree),
        **norms,
        **dense,
        "exchange_weight": (exchange, exchange),
        "exchange_bias": (exchange,),
    }


class Step:
    """A batch of random numbers in the four sweeps; rounded: of inputs with the digits of single."""

    def __init__(self, dtype: type) -> None:
        self.random, self.dtype, self.rounded = np.random.default_rng(11), dtype, False
        first, second, begin = [], [], 0
        for count in COUNTS:
            pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
            first += [begin + i for i, _ in pairs]
            second += [begin + j for _, j in pairs]
            begin += count
        self.atoms, self.pairs = begin, len(first)
        self.coordinates = sum(2 * degree + 1 for degree in DEGREES)
        self.arrays = {
            "counts": np.array(COUNTS, np.int64),
            "first": np.array(first, np.int64),
            "second": np.array(second, np.int64),
            "basis": self.normal(2 * self.pairs, BASIS),
            "phi": self.normal(self.pairs),
            "harmonics": self.normal(self.pairs, self.coordinates),
        }
        self.arrays_of_energies = {
            "species": self.random.integers(0, ELEMENTS, self.atoms, np.int64),
            "unit": self.normal(self.pairs, 3),
            "phi_slope": self.normal(self.pairs),
            "harmonics_by": self.normal(self.pairs, self.coordinates, 3),
        }
        known, names = shapes(), _engine.training_tensor_names()
        self.tensors = [self.normal(*known[name]) if name in known else None for name in LAYERS * names]
        self.tensors += [self.normal(FEATURES), self.normal(FEATURES)]
        head = [(HIDDEN, FEATURES), (HIDDEN,), (1, HIDDEN), (1,)]
        self.tensors += [self.normal(*shape) for shape in ((ELEMENTS, FEATURES), (ELEMENTS,), *head)]
        self.size = sum(tensor.size for tensor in self.tensors if tensor is not None)

    def normal(self, *shape: int) -> np.ndarray:
        values = 0.5 * self.random.standard_normal(shape)
        return (values.astype(np.float32) if self.rounded else values).astype(self.dtype)

    def run(self, network: _engine.TrainingNetwork, threads: int) -> list[np.ndarray]:
        """What the four sweeps give, then energies, forces and the gradient of a function of both."""
        self.random = np.random.default_rng(12)
        addresses, place = [], 0
        for tensor in self.tensors:
            addresses.append((0, 0) if tensor is None else (tensor.ctypes.data, place))
            place += 0 if tensor is None else tensor.size
        sizes = {"structures": len(COUNTS), "atoms": self.atoms, "pairs": self.pairs}
        batch = sizes | {name: array.ctypes.data for name, array in self.arrays.items()}
        sweeps = network.begin(batch, addresses[:-6], self.size, threads)
        batch |= {name: array.ctypes.data for name, array in self.arrays_of_energies.items()}
        energies = network.begin(batch, addresses, self.size, threads)
        atoms, pairs = (self.atoms, FEATURES), (self.pairs,)
        by_pair = [pairs, pairs, (self.pairs, self.coordinates)]
        results: list[np.ndarray] = []

        def sweep(run: Callable[..., None], given: list[tuple[int, ...]], new: list[tuple[int, ...]]) -> None:
            inputs = [self.normal(*shape) for shape in given]
            outputs = [np.zeros(shape, self.dtype) for shape in new]
            run(*(array.ctypes.data for array in inputs + outputs))
            self.arrays |= {f"kept {len(results)} {k}": array for k, array in enumerate(inputs)}
            results.extend(outputs)

        sweep(sweeps.forward, [atoms], [atoms])
        sweep(sweeps.adjoint, [atoms], by_pair)
        sweep(sweeps.tangent, by_pair, [atoms])
        sweep(sweeps.gradient, [atoms], [atoms, (2 * self.pairs, BASIS), (self.size,)])
        sweep(energies.evaluate, [], [(self.atoms,), (self.atoms, 3)])
        sweep(energies.differentiate, [(self.atoms,), (self.atoms, 3)], [(self.size,)])
        return results


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_share_a_batch_and_agree_to_the_bit(dtype: type) -> None:
    network = _engine.TrainingNetwork(OPTIONS | {"double_precision": dtype is np.float64})
    expected = Step(dtype).run(network, 1)
    assert all(np.isfinite(values).all() and np.abs(values).max() > 0 for values in expected)
    for threads in (2, 3, 7, 2):  # the last in threads and memory that were in use
        found = Step(dtype).run(network, threads)
        assert all(one.tobytes() == other.tobytes() for one, other in zip(expected, found, strict=True))


def in_double(step: Step, errors: np.random.Generator | None = None) -> list[np.ndarray]:
    """Results in double precision for the numbers of a step, each of them wrong in the 24th bit if errors are given."""
    double = Step(np.float64)

    def taken(values: np.ndarray) -> np.ndarray:
        exact = values.astype(np.float64)
        return exact if errors is None else exact * (1 + 2.0**-24 * errors.choice([-1, 1], values.shape))

    double.tensors = [None if tensor is None else taken(tensor) for tensor in step.tensors]
    double.arrays = {
        name: array if array.dtype == np.int64 else taken(array)
        for name, array in step.arrays.items()
        if not name.startswith("kept")
    }
    double.arrays_of_energies = {
        name: array if array.dtype == np.int64 else taken(array) for name, array in step.arrays_of_energies.items()
    }
    double.rounded = True
    return double.run(_engine.TrainingNetwork(OPTIONS | {"double_precision": True}), 2)


def test_single_precision_is_near_double() -> None:
    """Within what errors in the 24th bit of all that goes in make of the results (Wilkinson's backward analysis).

    A sum of n terms has n roundings of random signs; n is the number of pairs of an atom times that of the features
    at most.
    """
    single = Step(np.float32)
    found = single.run(_engine.TrainingNetwork(OPTIONS | {"double_precision": False}), 2)
    expected = in_double(single)
    errors = np.random.default_rng(13)
    samples = [in_double(single, errors) for _ in range(4)]
    roundings = np.sqrt(max(COUNTS) * FEATURES)
    for number, (one, exact) in enumerate(zip(found, expected, strict=True)):
        bound = roundings * max(np.abs(sample[number] - exact).max() for sample in samples)
        assert np.abs(one - exact).max() < bound
        assert bound < 1e-2 * np.abs(exact).max()  # it would see a wrong number
