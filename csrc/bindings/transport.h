// A transport that a Python object implements, so that the Python package needs no compiled MPI code.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "halo/transport.h"

namespace so3md {

/// Hands the calls of the engine to a Python object with the members that python/so3md/parallel/transport.py describes: rank, size, sum,
/// transpose, start and finish. What they raise comes out of the evaluation as it is. The object is kept alive; callers need not hold the
/// global interpreter lock. Throws a Python TypeError or ValueError if rank and size are not what they must be.
std::unique_ptr<Transport> make_python_transport(pybind11::object implementation);

}  // namespace so3md
