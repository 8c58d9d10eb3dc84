"""The reference model: So3krates in PyTorch with autograd, the oracle of the tests and the base for training.

Written to be read next to docs/theory.md, not to be fast. Running molecular dynamics does not need it.
"""

try:
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError("the reference model needs PyTorch: pip install 'so3md[torch]'") from error

from so3md.reference.graph import Edges, Graph, Structure, make_graph
from so3md.reference.model import ReferenceModel

__all__ = ["Edges", "Graph", "ReferenceModel", "Structure", "make_graph"]
