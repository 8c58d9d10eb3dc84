"""Molecular dynamics whose runs lie in one directory each, and can be stopped and continued at any step."""

from so3md.dynamics.respa import RespaBussi, RespaLangevin, RespaNPT, RespaVerlet, StudentError
from so3md.dynamics.settings import Settings
from so3md.dynamics.simulation import BlowUpError, Simulation

__all__ = [
    "BlowUpError",
    "RespaBussi",
    "RespaLangevin",
    "RespaNPT",
    "RespaVerlet",
    "Settings",
    "Simulation",
    "StudentError",
]
