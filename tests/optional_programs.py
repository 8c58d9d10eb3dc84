"""Programs that users bring themselves: tests that need one are skipped where it is absent, with the reason."""

from __future__ import annotations

import importlib.util
import os

import pytest

#: Continuous integration installs these programs, and sets this: a test whose program is absent then fails.
ALL_ARE_HERE = os.environ.get("SO3MD_ALL_PROGRAMS") == "1"


def needs(*modules: str, install: str | None = None) -> pytest.MarkDecorator:
    """Skip unless all of these modules can be imported; install: names of their packages, if others."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    packages = install or " ".join(modules)
    reason = f"{', '.join(missing)} not installed (pip install {packages})"
    return pytest.mark.skipif(bool(missing) and not ALL_ARE_HERE, reason=reason)
