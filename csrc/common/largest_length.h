// The bound of lengths that users give.
#pragma once

namespace so3md {

/// The largest cutoff, or other length that a radius is made of (A). A tenth of a millimetre: squares, and the numbers of bins that fit
/// into a cell, stay far from the largest numbers that there are.
constexpr double kLargestLength = 1e6;

}  // namespace so3md
