#include "uncertainty_output.h"

#include <mpi.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cinttypes>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "atom.h"
#include "comm.h"
#include "common/index.h"
#include "common/number_text.h"
#include "error.h"
#include "lammps.h"
#include "timer.h"
#include "update.h"

namespace so3md {

namespace {

constexpr std::size_t kVirialComponents = 9;  // of a virial

// Standard deviation over the members of each component, for each atom: the largest, the smallest, and the root of their mean square.
std::array<double, 3> deviation_of_virials(const std::vector<double>& virials, double atoms) {
  const std::size_t members = virials.size() / kVirialComponents;
  double largest = 0.0, smallest = std::numeric_limits<double>::infinity(), sum = 0.0;
  for (std::size_t c = 0; c < kVirialComponents; ++c) {
    double mean = 0.0, square = 0.0;
    for (std::size_t k = 0; k < members; ++k) mean += virials[kVirialComponents * k + c] / static_cast<double>(members);
    for (std::size_t k = 0; k < members; ++k)
      square += std::pow(virials[kVirialComponents * k + c] - mean, 2) / static_cast<double>(members);
    const double deviation = std::sqrt(square) / atoms;
    largest = std::max(largest, deviation);
    smallest = std::min(smallest, deviation);
    sum += deviation * deviation;
  }
  return {largest, smallest, std::sqrt(sum / kVirialComponents)};
}

}  // namespace

UncertaintyOutput::UncertaintyOutput(LAMMPS_NS::LAMMPS* lammps, UncertaintySettings settings, bool goes_on)
    : lammps_(lammps), settings_(std::move(settings)), goes_on_(goes_on) {}

bool UncertaintyOutput::row_is_due() const {
  const LAMMPS_NS::bigint step = lammps_->update->ntimestep;
  return !settings_.file.empty() && step % settings_.interval == 0 && step != last_written_;
}

bool UncertaintyOutput::is_due() const { return settings_.threshold.has_value() || row_is_due(); }

UncertaintyOfForces UncertaintyOutput::look(std::span<const double> values, std::span<const int> owned) const {
  const auto most = std::max_element(values.begin(), values.end());
  // With the process that has it. Processes without atoms have nothing that is largest or smallest.
  struct {
    double value = -1.0;
    int process = 0;
  } largest;
  largest.process = lammps_->comm->me;
  if (!values.empty()) largest.value = *most;
  MPI_Allreduce(MPI_IN_PLACE, &largest, 1, MPI_DOUBLE_INT, MPI_MAXLOC, lammps_->world);
  LAMMPS_NS::tagint atom = 0;
  if (lammps_->comm->me == largest.process && !values.empty() && lammps_->atom->tag_enable)
    atom = lammps_->atom->tag[owned[static_cast<std::size_t>(most - values.begin())]];
  MPI_Bcast(&atom, 1, MPI_LMP_TAGINT, largest.process, lammps_->world);
  double smallest = std::numeric_limits<double>::infinity();
  std::array<double, 2> sums{0.0, static_cast<double>(values.size())};
  for (const double value : values) {
    smallest = std::min(smallest, value);
    sums[0] += value;
  }
  MPI_Allreduce(MPI_IN_PLACE, &smallest, 1, MPI_DOUBLE, MPI_MIN, lammps_->world);
  MPI_Allreduce(MPI_IN_PLACE, sums.data(), 2, MPI_DOUBLE, MPI_SUM, lammps_->world);
  if (sums[1] == 0.0) return {};
  return {largest.value, smallest, sums[0] / sums[1], sums[1], atom};
}

void UncertaintyOutput::handle(const UncertaintyOfForces& found, const std::vector<double>& member_virials) {
  if (row_is_due()) write_row(found, member_virials);
  if (settings_.threshold && found.largest > *settings_.threshold) end_run(found);
}

void UncertaintyOutput::open(bool of_several) {
  file_.reset(std::fopen(settings_.file.c_str(), goes_on_ ? "a" : "w"));
  if (!file_)
    lammps_->error->one(FLERR, "Pair style so3krates: out_file " + settings_.file + " cannot be written: " + std::strerror(errno) +
                                   ": give the name of a file in a directory that exists");
  goes_on_ = true;
  std::fseek(file_.get(), 0, SEEK_END);
  if (std::ftell(file_.get()) > 0) return;
  std::fprintf(file_.get(), "#%11s", "step");
  for (const char* column : {"max_devi_v", "min_devi_v", "avg_devi_v"})
    if (of_several) std::fprintf(file_.get(), " %18s", column);
  for (const char* column : {"max_devi_f", "min_devi_f", "avg_devi_f"}) std::fprintf(file_.get(), " %18s", column);
  std::fputc('\n', file_.get());
}

void UncertaintyOutput::write_row(const UncertaintyOfForces& found, const std::vector<double>& member_virials) {
  std::vector<double> virials = member_virials;
  MPI_Allreduce(MPI_IN_PLACE, virials.data(), static_cast<int>(virials.size()), MPI_DOUBLE, MPI_SUM, lammps_->world);
  last_written_ = lammps_->update->ntimestep;
  if (lammps_->comm->me != 0) return;
  if (!file_) open(!virials.empty());
  FILE* file = file_.get();
  std::fprintf(file, "%12" PRId64, static_cast<std::int64_t>(last_written_));
  if (!virials.empty())
    for (const double value : deviation_of_virials(virials, found.atoms)) std::fprintf(file, " %18.6e", value);
  std::fprintf(file, " %18.6e %18.6e %18.6e\n", found.largest, found.smallest, found.mean);
  if (std::fflush(file) != 0 || std::ferror(file))
    lammps_->error->one(FLERR, "Pair style so3krates: out_file " + settings_.file + " cannot be written: " + std::strerror(errno));
}

// As fix halt with error soft does: the step is finished, commands after the run are executed, and further runs are not.
void UncertaintyOutput::end_run(const UncertaintyOfForces& found) {
  if (lammps_->timer->is_timeout()) return;
  if (lammps_->comm->me == 0) {
    const std::string atom = found.atom == 0 ? "an atom" : "atom " + std::to_string(found.atom);
    lammps_->error->warning(FLERR, "Pair style so3krates: the force on " + atom + " is uncertain by " + number_text(found.largest) +
                                       " at step " + std::to_string(lammps_->update->ntimestep) + ", above the threshold of " +
                                       number_text(*settings_.threshold) +
                                       ": the run ends, and further runs of this input are left out; write_data and write_restart still "
                                       "keep its atoms");
  }
  lammps_->timer->force_timeout();
}

}  // namespace so3md
