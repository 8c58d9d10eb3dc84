// The bounds of lengths that users give.
#pragma once

namespace so3md {

/// The largest cutoff, or other length that a radius is made of (A). A tenth of a millimetre: squares, and the numbers of bins that fit
/// into a cell, stay far from the largest numbers that there are.
constexpr double kLargestLength = 1e6;

/// The smallest cutoff, or width of a smooth cutoff (A): a hundredth of the diameter of an atom is a step, and the reciprocal of less
/// overflows.
constexpr double kSmallestLength = 1e-3;

}  // namespace so3md
