"""What is known about the published SO3LR model, by which the converter recognises and describes it."""

from __future__ import annotations

import hashlib

import numpy as np

NAME = "SO3LR"
DESCRIPTION = (
    "Pretrained force field for (bio)molecular simulation with H, C, N, O, F, P, S and Cl: So3krates network with ZBL "
    "repulsion, electrostatics of predicted charges and vdW-QDO dispersion. Only relative energies have meaning."
)
#: The elements that it was trained for; its tables hold untrained numbers for all others.
ELEMENTS = (1, 6, 7, 8, 9, 15, 16, 17)
#: The authors' defaults for periodic systems, A; molecules have no cutoff.
LONG_RANGE_CUTOFF = 12.0
LONG_RANGE_CUTOFF_MOLECULES = None
LONG_RANGE_DAMPING = 2.0
CITATION = (
    "A. Kabylda, J. T. Frank, S. Suárez-Dou, A. Khabibrakhmanov, L. Medrano Sandonas, O. T. Unke, S. Chmiela, "
    "K.-R. Müller, A. Tkatchenko, Molecular Simulations with a Pretrained Neural Network and Universal Pairwise Force "
    "Fields, Journal of the American Chemical Society 147, 33723 (2025), doi:10.1021/jacs.5c09558",
    "J. T. Frank, O. T. Unke, K.-R. Müller, So3krates: Equivariant attention for interactions on arbitrary "
    "length-scales in molecular systems, Advances in Neural Information Processing Systems 35 (2022), arXiv:2205.14276",
    "J. T. Frank, O. T. Unke, K.-R. Müller, S. Chmiela, A Euclidean transformer for fast and stable machine learned "
    "force fields, Nature Communications 15, 6539 (2024), doi:10.1038/s41467-024-50620-6",
)
LICENSE = "MIT"
LICENSE_TEXT = """MIT License

Copyright (c) 2024 Thorben Frank

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""

#: `fingerprint` of its weights.
FINGERPRINT = "f512a57dcff127a5dc6bf273d0632e9018e728bc95845875213d58ca23afedd5"


def fingerprint(tensors: dict[str, np.ndarray]) -> str:
    """SHA-256 of the weights of the layers, in float32, which do not depend on the choice of elements."""
    digest = hashlib.sha256()
    for name in sorted(name for name in tensors if name.startswith("layers.")):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name], dtype="<f4").tobytes())
    return digest.hexdigest()
