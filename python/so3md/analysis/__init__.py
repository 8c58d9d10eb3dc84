"""Analysis of runs and trajectories: averages with errors, distances, diffusion, spectra; as a page, JSON or a table.

Built on MDAnalysis, in the extra `analysis`.
"""

from so3md.analysis.reading import Wanted
from so3md.analysis.report import Report, analyse
from so3md.analysis.work import Options

__all__ = ["Options", "Report", "Wanted", "analyse"]
