"""Write the figures of benchmarks into the pages, from the committed results.

    python scripts/figures.py            # write the pages anew
    python scripts/figures.py --check    # only say which page has figures of other results; exit code 1 if there is one

A figure stands between the lines `<!-- figures: NAME -->` and `<!-- figures: end -->`; NAME is a function of
one of the modules in page_figures, which makes the text from the benchmarks' results/*.json. Figures outside such lines
belong to an experiment that is told, not to a benchmark that is repeated.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

from page_figures import dynamics, electrostatics, paper, speed, training, trust, validation

ROOT = Path(__file__).parents[1]
_DOCS = (
    "performance",
    "electrostatics",
    "so3lr2",
    "trust",
    "user_guide",
    "multiple_time_steps",
    "validation",
    "training",
    "installation",
    "recipes/conformers",
)
PAGES = (
    ROOT / "README.md",
    ROOT / "benchmarks" / "paper" / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in _DOCS),
)

_BLOCK = re.compile(r"(<!-- figures: (?P<name>[a-z0-9_]+) -->\n)(?P<text>.*?)(<!-- figures: end -->)", re.DOTALL)

_SUBJECTS = (dynamics, electrostatics, paper, speed, training, trust, validation)
BLOCKS: dict[str, Callable[[], str]] = {
    function.__name__: function for subject in _SUBJECTS for function in subject.FIGURES
}


def with_figures(page: str) -> str:
    """The page with the text of every block made anew; raises SystemExit for a block that nobody knows."""

    def block(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in BLOCKS:
            raise SystemExit(f"there are no figures named {name!r}; known are {', '.join(BLOCKS)}")
        return f"{match[1]}\n{BLOCKS[name]()}\n\n{match[4]}"

    return _BLOCK.sub(block, page)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    old = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        new = with_figures(text)
        if new == text:
            continue
        old.append(page.relative_to(ROOT))
        if not options.check:
            page.write_text(new, encoding="utf-8")
    if options.check and old:
        print(f"figures of other results in {', '.join(map(str, old))}: run python scripts/figures.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
