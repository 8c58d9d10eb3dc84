"""One program in one turn: builds its model with random weights, times it on ethanol, prints one line of JSON.

    python peer_worker.py PROGRAM --seconds 5

Uses one thread. Runs under the Python of the program, which need not have so3md. Every program gets the same molecules
and does the same: energies and forces of 1 and of 10 molecules, and a training step (loss of both, Adam) on these 10.
Neighbour lists and batches of the peers are made beforehand and not timed.
"""

from __future__ import annotations

import argparse
import atexit
import itertools
import json
import os
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from ase import Atoms
from ase.build import molecule

BATCH = 10
#: Weights of mean squared errors of energies and forces; they change no time.
ENERGY_WEIGHT, FORCES_WEIGHT = 0.01, 0.99


@dataclass
class Program:
    """What is timed. evaluate[n] gives energies and forces of n molecules, `repeats` times over in one call for the
    batch; step makes a training step."""

    parameters: int
    evaluate: dict[int, Callable[[], Any]]
    step: Callable[[], Any]
    repeats: int = 1


def molecules(count: int) -> list[Atoms]:
    """Ethanol, displaced at random, so that no two are alike."""
    random = np.random.default_rng(0)
    made = [molecule("CH3CH2OH") for _ in range(count)]
    for atoms in made:
        atoms.positions += random.normal(0.0, 0.05, atoms.positions.shape)
    return made


def labels(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random energies (count,) and forces (atoms of all molecules, 3): what they are changes no time."""
    random = np.random.default_rng(1)
    return random.normal(size=count), random.normal(size=(count * len(molecule("CH3CH2OH")), 3))


#: Called with a batch and whether it is for training; returns energies (molecules) and forces (n, 3) as tensors.
EnergyAndForces = Callable[[Any, bool], tuple[Any, Any]]


def torch_program(model: Any, energy_and_forces: EnergyAndForces, batches: dict[int, Any]) -> Program:
    """The program of a torch model; batches: number of molecules -> what energy_and_forces takes."""
    import torch

    energy, forces = (torch.tensor(value, dtype=torch.float32) for value in labels(BATCH))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        e, f = energy_and_forces(batches[BATCH], True)
        loss = ENERGY_WEIGHT * ((e - energy) ** 2).mean() + FORCES_WEIGHT * ((f - forces) ** 2).mean()
        loss.backward()
        optimizer.step()

    evaluate = {n: lambda batch=batch: energy_and_forces(batch, False) for n, batch in batches.items()}
    return Program(sum(p.numel() for p in model.parameters() if p.requires_grad), evaluate, step)


def painn() -> Program:
    """PaiNN in schnetpack: 128 features, 3 blocks, 20 radial functions, cutoff 5 A (Schuett et al. 2021; MD17)."""
    import torch.utils.data.dataloader

    # schnetpack 2.1.1 imports this name for an annotation; newer versions of torch have it no longer.
    torch.utils.data.dataloader.__dict__.setdefault("T_co", TypeVar("T_co", covariant=True))
    import schnetpack as spk
    from schnetpack.interfaces import AtomsConverter
    from schnetpack.transform import MatScipyNeighborList

    cutoff = 5.0
    model = spk.model.NeuralNetworkPotential(
        spk.representation.PaiNN(
            n_atom_basis=128,
            n_interactions=3,
            radial_basis=spk.nn.GaussianRBF(n_rbf=20, cutoff=cutoff),
            cutoff_fn=spk.nn.CosineCutoff(cutoff),
        ),
        input_modules=[spk.atomistic.PairwiseDistances()],
        output_modules=[
            spk.atomistic.Atomwise(n_in=128, output_key="energy", aggregation_mode="sum"),
            spk.atomistic.Forces(energy_key="energy", force_key="forces"),
        ],
    )
    convert = AtomsConverter(MatScipyNeighborList(cutoff=cutoff))

    def energy_and_forces(inputs: dict[str, Any], training: bool) -> tuple[Any, Any]:
        model.train(training)
        results = model(_fresh(inputs))
        return results["energy"], results["forces"]

    return torch_program(model, energy_and_forces, {n: convert(molecules(n)) for n in (1, BATCH)})


#: So3krates in the size of the paper of 2022, otherwise as so3md trains it unless told otherwise.
FEATURES, LAYERS, DEGREES, CUTOFF, RADIAL_FUNCTIONS = 132, 3, [1, 2, 3], 5.0, 32


def so3md(**model: Any) -> Program:
    """So3krates in so3md: inference by the engine in its default precision, and the training step of `so3md train`.

    Other than for the peers, making batches and neighbour lists counts. model: what differs from the size above.
    """
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    from so3md import So3kratesCalculator
    from so3md.batch import evaluate_many
    from so3md.training.config import Config
    from so3md.training.run import START, Run
    from so3md.training.schema import build

    structures = molecules(2 * BATCH)
    energies, forces = labels(2 * BATCH)
    for atoms, energy, force in zip(structures, energies, np.split(forces, 2 * BATCH), strict=True):
        atoms.calc = SinglePointCalculator(atoms, energy=float(energy), forces=force)
    size = {"num_features": FEATURES, "num_layers": LAYERS, "degrees": DEGREES, "cutoff": CUTOFF}
    document = {
        "data": {"files": "molecules.xyz", "split": {"train": f"0:{BATCH}", "validation": f"{BATCH}:{2 * BATCH}"}},
        "model": size | model,
        "loss": {"energy": ENERGY_WEIGHT, "forces": FORCES_WEIGHT},
        "training": {"epochs": 10**6, "validation_interval": 10**6, "batch_size": BATCH},
    }
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    write(folder / "molecules.xyz", structures)
    run = Run.start(build(Config, document), folder, folder / "run")
    file = folder / "run" / START
    turns = itertools.cycle(structures)
    repeats = 50  # evaluate_many is made for data sets: it loads the model in each call
    calculator = So3kratesCalculator(str(file), threads=1, lr_cutoff=None)

    def evaluate_one() -> None:
        calculator.calculate(next(turns), ["energy", "forces"])

    def evaluate_batch() -> None:
        list(evaluate_many(structures[:BATCH] * repeats, file, threads=1, lr_cutoff=None))

    # The trainer stops after each step.
    step = partial(run.trainer.run, should_stop=lambda: True)
    parameters = run.trainer.parameters.values.numel()
    return Program(parameters, {1: evaluate_one, BATCH: evaluate_batch}, step, repeats)


def so3krates_torch() -> Program:
    """So3krates in so3krates-torch: the same network as so3md's."""
    import torch
    from so3krates_torch.data.atomic_data import AtomicData
    from so3krates_torch.data.utils import KeySpecification, config_from_atoms
    from so3krates_torch.modules.models import So3krates
    from so3krates_torch.tools import torch_geometric, utils

    model = So3krates(
        r_max=CUTOFF,
        num_radial_basis_fn=RADIAL_FUNCTIONS,
        degrees=DEGREES,
        num_features=FEATURES,
        num_heads=4,
        num_layers=LAYERS,
        radial_basis_fn="bernstein",
        avg_num_neighbors=8.0,
        layer_normalization_1=True,
        layer_normalization_2=True,
        residual_mlp_1=True,
        energy_regression_dim=FEATURES,
        energy_learn_atomic_type_shifts=True,
        energy_learn_atomic_type_scales=True,
        cutoff_fn="phys",
    ).to(torch.float32)
    table = utils.AtomicNumberTable(list(range(1, 119)))

    def batch(count: int) -> dict[str, Any]:
        keys = KeySpecification(info_keys={}, arrays_keys={})
        configurations = [config_from_atoms(atoms, key_specification=keys) for atoms in molecules(count)]
        data = [AtomicData.from_config(c, z_table=table, cutoff=CUTOFF, cutoff_lr=None) for c in configurations]
        return next(iter(torch_geometric.dataloader.DataLoader(data, batch_size=count))).to_dict()

    def energy_and_forces(inputs: dict[str, Any], training: bool) -> tuple[Any, Any]:
        results = model(_fresh(inputs), training=training, compute_stress=False)
        return results["energy"], results["forces"]

    return torch_program(model, energy_and_forces, {n: batch(n) for n in (1, BATCH)})


def mace() -> Program:
    """MACE: 256 channels, messages up to degree 2, 2 layers, cutoff 5 A (Batatia et al. 2022, for small molecules).

    The settings are those that issue 57 of MACE's repository discusses with its authors.
    """
    import torch

    torch.serialization.add_safe_globals([slice])  # in a file of e3nn 0.4.4, which MACE needs
    from e3nn import o3
    from mace import data, modules
    from mace.tools import torch_geometric, utils

    elements = [1, 6, 8]
    model = modules.ScaleShiftMACE(
        r_max=5.0,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
        num_interactions=2,
        num_elements=len(elements),
        hidden_irreps=o3.Irreps("256x0e + 256x1o + 256x2e"),
        MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.zeros(len(elements)),
        avg_num_neighbors=8.0,
        atomic_numbers=elements,
        correlation=3,
        radial_type="bessel",
        radial_MLP=[64, 64, 64],
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    ).to(torch.float32)
    table = utils.AtomicNumberTable(elements)

    def batch(count: int) -> dict[str, Any]:
        keys = data.KeySpecification(info_keys={}, arrays_keys={})
        configurations = [data.config_from_atoms(atoms, key_specification=keys) for atoms in molecules(count)]
        graphs = [data.AtomicData.from_config(c, z_table=table, cutoff=5.0) for c in configurations]
        return next(iter(torch_geometric.dataloader.DataLoader(graphs, batch_size=count))).to_dict()

    def energy_and_forces(inputs: dict[str, Any], training: bool) -> tuple[Any, Any]:
        results = model(_fresh(inputs), training=training, compute_force=True)
        return results["energy"], results["forces"]

    return torch_program(model, energy_and_forces, {n: batch(n) for n in (1, BATCH)})


def nequip() -> Program:
    """NequIP: 64 features up to degree 3, both parities, 5 layers, cutoff 4 A (Batzner et al. 2022).

    The settings are the paper's for MD17 ethanol: md17/md17-ethanol-n950-l3.yaml of mir-group/nequip-input-files. That
    version told elements apart by one number each, which today's calls type_embed_num_features.
    """
    from nequip.data import AtomicDataDict, compute_neighborlist_, from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper
    from nequip.model import NequIPGNNModel
    from nequip.utils.global_state import set_global_state

    set_global_state()
    elements = ["H", "C", "O"]
    model = NequIPGNNModel(
        seed=0,
        model_dtype="float32",
        type_names=elements,
        r_max=4.0,
        num_layers=5,
        l_max=3,
        type_embed_num_features=len(elements),
        parity=True,
        num_features=64,
        radial_mlp_depth=3,
        radial_mlp_width=64,
        readout_mlp_hidden_layers_depth=1,
        readout_mlp_hidden_layers_width=16,
        num_bessels=8,
        bessel_trainable=True,
        polynomial_cutoff_p=6,
        avg_num_neighbors=8.0,
        per_type_energy_scales=1.0,
        per_type_energy_shifts=0.0,
        per_type_energy_scales_trainable=True,
        per_type_energy_shifts_trainable=True,
    )
    types = ChemicalSpeciesToAtomTypeMapper(
        model_type_names=elements, chemical_species_to_atom_type_map={name: name for name in elements}
    )

    def batch(count: int) -> dict[str, Any]:
        graphs = [compute_neighborlist_(types(from_ase(atoms)), r_max=4.0) for atoms in molecules(count)]
        return AtomicDataDict.batched_from_list(graphs)

    def energy_and_forces(inputs: dict[str, Any], training: bool) -> tuple[Any, Any]:
        model.train(training)
        results = model(_fresh(inputs))
        return results[AtomicDataDict.TOTAL_ENERGY_KEY].squeeze(-1), results[AtomicDataDict.FORCE_KEY]

    return torch_program(model, energy_and_forces, {n: batch(n) for n in (1, BATCH)})


def _fresh(inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs without what a model has hung on them in the call before."""
    return {key: value.detach() if hasattr(value, "detach") else value for key, value in inputs.items()}


PROGRAMS = {
    "so3md": so3md,
    "so3md-2022": partial(so3md, architecture="so3krates-2022"),
    "so3md-2022-nonlocal": partial(so3md, architecture="so3krates-2022", **{"nonlocal": {"type": "dynamic"}}),
    "painn": painn,
    "so3krates-torch": so3krates_torch,
    "mace": mace,
    "nequip": nequip,
}


def median_seconds(call: Callable[[], Any], budget: float) -> float:
    """Median over calls that take `budget` seconds in all, after one that warms up and does not count.

    Time of the processor, which for one thread is the time that passes on a machine with nothing else to do.
    """
    call()
    seconds: list[float] = []
    while sum(seconds) < budget or len(seconds) < 2:
        begin = time.process_time()
        call()
        seconds.append(time.process_time() - begin)
    return statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("--seconds", type=float, required=True, help="for each of the three things timed")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    # Results go to standard output, what programs say goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    program = PROGRAMS[arguments.program]()
    times = {f"inference_{n}": median_seconds(call, arguments.seconds) for n, call in program.evaluate.items()}
    times[f"inference_{BATCH}"] /= program.repeats
    times["training_step"] = median_seconds(program.step, arguments.seconds)
    answers.write(json.dumps({"parameters": program.parameters, "seconds": times}) + "\n")


if __name__ == "__main__":
    main()
