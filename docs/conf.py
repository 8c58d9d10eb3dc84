"""Sphinx turns the Markdown files of this folder into web pages: sphinx-build docs build/docs.

The same files are read on GitHub, so that links between them, and to files elsewhere in the repository, are plain
relative links of Markdown.
"""

from __future__ import annotations

import os
import re
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).parent

project = "so3md"
author = "The so3md developers"
copyright = author
try:
    release = installed_version("so3md")
except PackageNotFoundError:  # from a source tree that was never installed
    release = "unknown"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
html_theme = "furo"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
add_module_names = False
autodoc_mock_imports = ["torch", "torch_sim"]  # the pages are the same with them and without

# Names in annotations that have their pages elsewhere, or none. A name of so3md that leads nowhere is a fault of ours.
nitpick_ignore_regex = [
    ("py:.*", r"(?!so3md).*"),
    ("py:.*", r"so3md\._engine\..*"),
    ("py:.*", r"so3md\.convert\.source\.SourceModel"),  # of foreign formats, which nobody else needs
    ("py:.*", r"so3md\.parallel\.team\.T"),  # a type variable
    ("py:.*", r"so3md\.reference\.graph\.Structure"),  # of the reference model, which only tests use
]

_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>\.\./[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")


def _without_outer_links(app: Sphinx, page: str, source: list[str]) -> None:
    """Links to files outside of this folder become the text and the file's place in the repository."""

    def plain(match: re.Match[str]) -> str:
        place = os.path.relpath((DOCS / page).parent / match["target"], DOCS.parent)
        if place.startswith("docs" + os.sep):
            return match[0]
        text = match["text"]
        return f"`{place}`" if text.strip("`") in place else f"{text} (`{place}`)"

    source[0] = _LINK.sub(plain, source[0])


def setup(app: Sphinx) -> None:
    app.connect("source-read", _without_outer_links)
