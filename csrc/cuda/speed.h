// What the device does at best.
#pragma once

#include "evaluation/device.h"

namespace so3md::cuda {

/// As so3md::measure_speed, for device number `device`.
DeviceSpeed measure_speed(int device);

}  // namespace so3md::cuda
