"""A student for multiple time steps: a small model that is trained on what a large one says of some structures."""

from so3md.distillation.plan import Plan
from so3md.distillation.run import Distillation

__all__ = ["Distillation", "Plan"]
