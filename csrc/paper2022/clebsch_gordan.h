// Coupling coefficients of real spherical harmonics (eq. 68 of docs/theory.md).
#pragma once

#include <vector>

namespace so3md::paper2022 {

/// C[m1 + l1][m2 + l2][m3 + l3], row-major: products of two vectors of degrees l1 and l2 that rotate like degree l3, in the convention of
/// the paper: the squares of all coefficients of a triple sum up to 1; where l1 + l2 + l3 is even, products of harmonics of one direction
/// are positive multiples of the harmonics; where it is odd, u . (grad Y_l1 x grad Y_l2) becomes a negative multiple of Y_l3, which for
/// l1 < l2, the only products that the network forms, are the signs of the paper's table. Zeros unless |l1 - l2| <= l3 <= l1 + l2.
std::vector<double> clebsch_gordan(int l1, int l2, int l3);

}  // namespace so3md::paper2022
