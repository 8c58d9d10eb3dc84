"""Equations that comments cite exist in docs/theory.md, and are about what the comment says.

A number that is left behind when equations are added or moved still names some equation; so each must stand beside a
word of the subject of that equation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
THEORY = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
FOLDERS = ("csrc", "lammps_plugin", "python/so3md")
SUFFIXES = {".h", ".cpp", ".cu", ".py"}
#: Lines of a comment, on either side of the one with the number, in which the word may stand.
LINES_AROUND = 1

#: First and last equation -> words of their subject, one of which a comment that cites them has.
SUBJECTS = {
    (1, 1): "function|activation",
    (2, 2): "displacement|geometry|distance",
    (3, 6): "cutoff|phi",
    (7, 10): "radial|g_k",
    (11, 12): "harmonics",
    (13, 13): "embedding|features|x_i|before the first layer",
    (14, 15): "embedding",
    (16, 16): "invariant|squared norms|m_l",
    (17, 17): "filter|w and w'",
    (18, 18): "quer|projection",
    (19, 22): "alpha|beta|attention|heads|scores|q_i k_j|normaliser|neighbours",
    (23, 23): "norm|deviation",
    (24, 24): "mlp|M2 act",
    (25, 25): "exchange",
    (26, 26): "readout|energy|scale",
    (27, 28): "charge",
    (29, 29): "dipole",
    (30, 30): "hirshfeld|ratio|readout|h_i|h_r|shift of the element",
    (31, 31): "pair terms",
    (32, 32): "switch|S\\(r|pair terms",
    (33, 33): "repulsion|zbl|pair terms",
    (34, 36): "electrostatics|coulomb|charges|erf|pair terms",
    (37, 40): "dispersion|pair terms",
    (41, 42): "force|virial|stress|dE/dd",
    (43, 43): "charge|readouts",
    (44, 44): "adjoint|G =|harmonics|products",
    (45, 45): "adjoint|G =|quer|q, k|q' and k'|heads",
    (46, 46): "adjoint|G =|filter|heads",
    (47, 47): "adjoint|chi|invariants",
    (48, 50): "dE/d|adjoint|gradient|G =",
    (51, 51): "spline",
    (52, 52): "species|distance|first layer",
    (53, 53): "before the first layer",
    (54, 54): "mlp|M3 act",
    (55, 55): "neighbour to the centre",
    (56, 57): "radial|g_k",
    (58, 58): "embedding",
    (59, 59): "mean|before the first layer",
    (60, 60): "distances in the space of chi|delta",
    (61, 61): "filter|attention",
    (62, 62): "quer|projection",
    (63, 63): "attention|neighbours",
    (64, 65): "weight|softmax|normaliser|space of chi|f_ij",
    (66, 66): "attention|coordinates|pairs",
    (67, 67): "norm|chi_l|projections",
    (68, 68): "coupling|clebsch|P C",
    (69, 69): "self-interaction|coupled|P C|products",
    (70, 71): "exchange|gate",
    (72, 73): "heat flux|flux",
    (74, 75): "rate|moment",
    (76, 76): "moved|moment",
    (77, 77): "charge|c_j",
    (78, 79): "charge|images|structure factors",
    (80, 80): "structure factors|sums",
    (81, 82): "potential|force|weights|row",
    (83, 83): "accuracy|error",
    (84, 84): "strain",
    (85, 87): "tail|beyond|mean polarisabilities|evenly",
    (88, 91): "field",
    (92, 92): "norm|mean",
    (93, 93): "norm|head",
    (94, 94): "next layer|mu x0|embedding",
    (95, 95): "ratio",
    (96, 96): "repulsion|nlh|pair terms",
    (97, 97): "c6",
    (98, 100): "c6|tail|beyond",
    (101, 102): "current",
    (103, 103): "dielectric",
    (104, 105): "potential",
    (106, 106): "point charges",
    (107, 108): "uncertaint",
}

_NUMBER = r"\(?\d+\)?"
#: eq. 17, eqs. (16) to (25), eq. 26, 27, 30, eqs. (7), (9), (10) and (56), eq. 44-50
_CITATION = re.compile(rf"\beqs?\. ({_NUMBER}(?:(?:, | and | to | or |, and |-){_NUMBER})*)")


#: In place of the subject where a range of equations is cited for a whole layer.
WHOLE_LAYER = "layer|update of features"
LAYERS = (range(16, 26), range(60, 72))


class Citation(NamedTuple):
    place: str
    number: int
    in_range: bool
    text: str  # of the comment around it, in lower case


def numbers_of(text: str) -> Iterator[tuple[int, bool]]:
    """The numbers of a citation, ranges spelled out, and whether each is one of a range."""
    for part in re.split(r", and |, | and | or ", text):
        ends = [int(word.strip("()")) for word in re.split(r" to |-", part)]
        yield from ((number, len(ends) > 1) for number in range(ends[0], ends[-1] + 1))


def comment_around(lines: list[str], at: int, match: re.Match[str]) -> str:
    """What a citation speaks of, in lower case: the lines around, or what is before it if there are others as well."""
    before = " ".join([*lines[max(0, at - LINES_AROUND) : at], lines[at][: match.start()]])
    after = " ".join([lines[at][match.end() :], *lines[at + 1 : at + 1 + LINES_AROUND]])
    earlier = list(_CITATION.finditer(before))
    if earlier:
        return before[earlier[-1].end() :].lower()
    if _CITATION.search(after) and len(before.strip(' /#"')) > 0:
        return before.lower()
    return (before + after).lower()


def citations() -> Iterator[Citation]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix not in SUFFIXES:
                continue
            lines = path.read_text(encoding="utf-8").splitlines()
            for at, line in enumerate(lines):
                for match in _CITATION.finditer(line):
                    around = comment_around(lines, at, match)
                    for number, in_range in numbers_of(match[1]):
                        yield Citation(f"{path.relative_to(ROOT)}:{at + 1}", number, in_range, around)


def subject(number: int) -> str:
    (words,) = [words for (first, last), words in SUBJECTS.items() if first <= number <= last]
    return words.lower()


def fits(citation: Citation) -> bool:
    """Whether the comment has a word of the equation's subject."""
    if (
        citation.in_range
        and any(citation.number in layer for layer in LAYERS)
        and re.search(WHOLE_LAYER, citation.text)
    ):
        return True
    return re.search(subject(citation.number), citation.text) is not None


def test_equations_are_numbered_in_order() -> None:
    numbers = [int(number) for number in re.findall(r"\\tag\{(\d+)\}", THEORY)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_equation_has_a_subject() -> None:
    for number in map(int, re.findall(r"\\tag\{(\d+)\}", THEORY)):
        assert subject(number), f"add the subject of equation {number} to SUBJECTS"


def test_every_citation_names_an_equation_of_its_subject() -> None:
    known = set(map(int, re.findall(r"\\tag\{(\d+)\}", THEORY)))
    found = list(citations())
    assert len(found) > 100, "the pattern no longer finds citations"
    wrong = [f"{c.place}: there is no equation {c.number}" for c in found if c.number not in known]
    wrong += [
        f"{c.place}: equation {c.number} is about {subject(c.number)}, and the comment is not"
        for c in found
        if c.number in known and not fits(c)
    ]
    assert not wrong, "\n".join(wrong)


def test_sections_that_are_cited_exist() -> None:
    sections = set(re.findall(r"^## (\d+)\.", THEORY, re.MULTILINE))
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES:
                for number in re.findall(r"theory\.md,\s+(?://+ )?section (\d+)", path.read_text(encoding="utf-8")):
                    assert number in sections, f"{path.relative_to(ROOT)} cites section {number} of docs/theory.md"


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("eq. 17 of", [17]),
        ("eqs. (16) to (18). One", [16, 17, 18]),
        ("(eq. 26, 27, 30 of", [26, 27, 30]),
        ("eqs. (7), (9), (10) and (56).", [7, 9, 10, 56]),
        ("(eq. 44-46):", [44, 45, 46]),
        ("eq. (13) or (53)", [13, 53]),
        ("(eq. 41, 50), added", [41, 50]),
    ],
)
def test_numbers_of_citations(text: str, numbers: list[int]) -> None:
    match = _CITATION.search(text)
    assert match is not None
    assert [number for number, _ in numbers_of(match[1])] == numbers
