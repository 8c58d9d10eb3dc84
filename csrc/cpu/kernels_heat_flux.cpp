// The kernels of the heat flux for one instruction set; compiled once for each, with SO3MD_ISA naming it.
#include "cpu/heat_flux_edges.h"
#include "cpu/heat_flux_pairs.h"

namespace SO3MD_CPU_NAMESPACE {

namespace {

std::size_t heat_flux_scratch_size(const Layout& layout) {
  const std::size_t sizes[] = {heat_flux::EdgeBuffers::size(layout), heat_flux::node_scratch(layout), heat_flux::readout_scratch(layout)};
  std::size_t largest = 0;
  for (std::size_t size : sizes) largest = size > largest ? size : largest;
  return largest;
}

}  // namespace

const so3md::heat_flux::KernelTable& heat_flux_kernels() {
  static const so3md::heat_flux::KernelTable table = {.scratch_size = heat_flux_scratch_size,
                                                      .initial = heat_flux::initial_coordinates,
                                                      .project = heat_flux::project_slots,
                                                      .attend = heat_flux::attend_atoms,
                                                      .nodes = heat_flux::node_steps,
                                                      .readouts = heat_flux::readout_steps,
                                                      .long_range = heat_flux::long_range_pairs};
  return table;
}

}  // namespace SO3MD_CPU_NAMESPACE
