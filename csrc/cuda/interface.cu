#include "cuda/cuda_engine.h"
#include "cuda/interface.h"
#include "cuda/platform.h"
#include "cuda/speed.h"

extern "C" __attribute__((visibility("default"))) const so3md::cuda::Interface* so3md_device_interface() {
  static const so3md::cuda::Interface interface{SO3MD_INTERFACE_VERSION, &so3md::cuda::count_devices, &so3md::cuda::measure_speed,
                                                &so3md::cuda::create_engine};
  return &interface;
}
