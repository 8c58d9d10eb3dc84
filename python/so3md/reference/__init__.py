"""The reference model: So3krates in PyTorch with autograd, the oracle of the tests and the base for training.

Written to be read next to docs/theory.md, not to be fast. Running molecular dynamics does not need it.
"""

from so3md.model_file import ModelFile
from so3md.pytorch import torch
from so3md.reference.graph import Edges, Graph, Structure, make_graph
from so3md.reference.model import ReferenceModel
from so3md.reference.paper2022 import Paper2022Model
from so3md.reference.so3krates import So3kratesModel

__all__ = [
    "Edges",
    "Graph",
    "Paper2022Model",
    "ReferenceModel",
    "So3kratesModel",
    "Structure",
    "make_graph",
    "reference_model",
]


def reference_model(file: ModelFile, dtype: torch.dtype = torch.float64) -> ReferenceModel:
    """The model with the architecture and the weights of a model file."""
    return ReferenceModel.from_model_file(file, dtype)
