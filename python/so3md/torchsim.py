"""A So3krates model for TorchSim, which moves many systems together (docs/recipes/torchsim.md).

TorchSim's models are modules of PyTorch. This one has no tensors of its own: positions go to the engine of
`so3md.evaluate_many`, and numbers come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from so3md.batch import ManyEvaluator, Prediction
from so3md.calculator import So3kratesCalculator
from so3md.charge_and_spin import CHARGE_KEYS, MULTIPLICITY_KEYS, SPIN_KEYS, charge_and_spin_of
from so3md.ignored_states import ignored_quantities
from so3md.loading import hyperparameters_of, load_model
from so3md.missing_packages import needed

with needed("so3md.torchsim", "TorchSim (0.6.2 is tested; for Python 3.12 and newer)", "torch-sim-atomistic"):
    import torch
    import torch_sim
    from torch_sim.models.interface import ModelInterface

#: Extras of a state's systems that tell a quantity, by the names that atoms.info has for it.
_EXTRAS = {"charge": CHARGE_KEYS, "spin": (*SPIN_KEYS, *MULTIPLICITY_KEYS)}


def state_of(
    structures: Atoms | Sequence[Atoms], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float64
) -> torch_sim.SimState:
    """The state of structures with their charges and spins, which TorchSim itself leaves behind.

    charge (e) and spin (S) of each system are what atoms.info says, as in ASE, or zero.

    Raises ValueError if entries contradict each other, or if structures are not all periodic along the same
    directions: a state has one periodicity.
    """
    listed = [structures] if isinstance(structures, Atoms) else list(structures)
    states = [charge_and_spin_of(atoms) for atoms in listed]
    for number, atoms in enumerate(listed):
        if (atoms.pbc != listed[0].pbc).any():
            raise ValueError(
                f"structure {number} has pbc = {atoms.pbc.tolist()} and structure 0 has {listed[0].pbc.tolist()}: "
                "TorchSim has one periodicity for all systems of a state; make a state for each"
            )
    state = torch_sim.io.atoms_to_state(listed, torch.device(device), dtype)
    for key in _EXTRAS:
        values = [getattr(of_atoms, key) for of_atoms in states]
        state.system_extras[key] = torch.tensor(values, dtype=dtype, device=state.device)
    return state


class So3kratesModel(ModelInterface):
    """A model of TorchSim: `torch_sim.optimize(system=state_of(structures), model=So3kratesModel(), ...)`.

    Parameters:
        model: as for `so3md.So3kratesCalculator`.
        device: of tensors; the engine computes on the same: "cpu", or "cuda" for an NVIDIA GPU.
        dtype: of tensors. In torch.float32, energies of SO3LR have an error of 1e-3 eV.
        compute_forces, compute_stress: what is in the output.
        charge, spin: of every system. None: extras of the state, which `state_of` makes.
        parameters: others of So3kratesCalculator, such as precision or threads.

    Output: energy (n_systems) in eV, forces (n_atoms, 3) in eV/Angstrom, stress (n_systems, 3, 3) in eV/Angstrom^3,
    positive under tension, and partial_charges (n_atoms) in e, of models that have them. Systems without a periodic
    direction or without volume have no stress: NaN. Nothing has gradients.

    A state without extras for the charge, or the spin, is refused if neither is given here and the model depends on
    it: TorchSim drops entries of atoms.info, and wrong energies would be all that tells of it.

    Raises FileNotFoundError, TypeError or ValueError for bad parameters; evaluations raise ValueError for a system
    that cannot be evaluated, with its index.
    """

    def __init__(
        self,
        model: str = "so3lr",
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
        compute_forces: bool = True,
        compute_stress: bool = True,
        charge: float | None = None,
        spin: float | None = None,
        **parameters: Any,
    ) -> None:
        super().__init__()
        if unknown := parameters.keys() - So3kratesCalculator.default_parameters.keys():
            raise TypeError(f"unknown parameters: {', '.join(sorted(unknown))}; see So3kratesCalculator")
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype: expected torch.float32 or torch.float64, found {dtype}")
        self._device, self._dtype = torch.device(device), dtype
        self._compute_forces, self._compute_stress = compute_forces, compute_stress
        self._memory_scales_with = "n_atoms"
        given = {"model": model, "charge": charge, "spin": spin, "device": str(self._device)}
        self._evaluator = ManyEvaluator(**So3kratesCalculator.default_parameters | parameters | given)
        ignored = ignored_quantities(hyperparameters_of(load_model(model)))
        self._needed = [key for key in _EXTRAS if given[key] is None and key not in ignored]

    @ModelInterface.compute_forces.setter  # type: ignore[untyped-decorator]
    def compute_forces(self, wanted: bool) -> None:
        """Whether forces are in the output."""
        self._compute_forces = wanted

    @ModelInterface.compute_stress.setter  # type: ignore[untyped-decorator]
    def compute_stress(self, wanted: bool) -> None:
        """Whether the stress is in the output."""
        self._compute_stress = wanted

    def forward(self, state: torch_sim.SimState, **_kwargs: Any) -> dict[str, torch.Tensor]:
        """Evaluate all systems of a state."""
        structures = self._structures(state)
        derivatives = self._compute_forces or self._compute_stress
        predictions = []
        for number, (atoms, outcome) in enumerate(self._evaluator.outcomes(structures, derivatives)):
            if not isinstance(outcome, Prediction):
                raise ValueError(f"system {number} ({atoms.get_chemical_formula()}): {outcome}") from outcome
            predictions.append(outcome)
        values = {"energy": np.array([prediction.energy for prediction in predictions])}
        if self._compute_forces:
            values["forces"] = np.concatenate([prediction.forces for prediction in predictions])
        if self._compute_stress:
            values["stress"] = np.array([_stress(prediction) for prediction in predictions])
        if predictions and predictions[0].charges is not None:
            values["partial_charges"] = np.concatenate([prediction.charges for prediction in predictions])
        return {key: torch.as_tensor(value, dtype=self._dtype, device=self._device) for key, value in values.items()}

    def _structures(self, state: torch_sim.SimState) -> list[Atoms]:
        for key in self._needed:
            if not any(name in state.system_extras for name in _EXTRAS[key]):
                raise ValueError(
                    f"the state does not tell the {key} of its systems, and TorchSim drops that of atoms.info: make it "
                    f"by so3md.torchsim.state_of(structures), or give So3kratesModel({key}=...) one for all systems"
                )
        known = [key for keys in _EXTRAS.values() for key in keys if key in state.system_extras]
        extras = {key: _numbers(state.system_extras[key]).reshape(-1) for key in known}
        positions, numbers = _numbers(state.positions), _numbers(state.atomic_numbers)
        cells, pbc, systems = _numbers(state.cell), _numbers(state.pbc), _numbers(state.system_idx)
        bounds = np.searchsorted(systems, np.arange(len(cells) + 1))
        return [
            Atoms(
                numbers[begin:end],
                positions[begin:end],
                cell=cell.T,  # TorchSim's vectors are columns
                pbc=pbc,
                info={key: float(values[number]) for key, values in extras.items()},
            )
            for number, (begin, end, cell) in enumerate(zip(bounds[:-1], bounds[1:], cells, strict=True))
        ]


def _numbers(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def _stress(prediction: Prediction) -> np.ndarray:
    return np.full((3, 3), np.nan) if prediction.stress is None else voigt_6_to_full_3x3_stress(prediction.stress)
