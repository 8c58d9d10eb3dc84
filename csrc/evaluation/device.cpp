#include "evaluation/device.h"

#include <stdexcept>

namespace so3md {

Device parse_device(const std::string& name) {
  const auto colon = name.find(':');
  const std::string kind = name.substr(0, colon);
  Device device;
  if (kind == "cuda") device.kind = DeviceKind::cuda;
  if (kind == "cuda-emulation") device.kind = DeviceKind::cuda_emulation;
  const std::string number = colon == std::string::npos ? "0" : name.substr(colon + 1);
  const bool is_number = !number.empty() && number.size() < 5 && number.find_first_not_of("0123456789") == std::string::npos;
  if ((device.kind == DeviceKind::cpu && name != "cpu") || !is_number)
    throw std::invalid_argument("unknown device '" + name + "': expected cpu, cuda, or cuda:N for GPU number N, counted from 0");
  device.index = std::stoi(number);
  return device;
}

std::string device_name(const Device& device) {
  if (device.kind == DeviceKind::cpu) return "cpu";
  const std::string kind = device.kind == DeviceKind::cuda ? "cuda" : "cuda-emulation";
  return device.index == 0 ? kind : kind + ":" + std::to_string(device.index);
}

}  // namespace so3md
