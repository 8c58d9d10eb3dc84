// The commands of the input: pair_style, pair_coeff, and what happens before a run.
#include "pair_so3krates.h"

#include <mpi.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "atom.h"
#include "collective_error.h"
#include "comm.h"
#include "common/default_arithmetic.h"
#include "common/number_text.h"
#include "compute.h"
#include "domain.h"
#include "elements.h"
#include "engine/create_engine.h"
#include "engine/device_library.h"
#include "error.h"
#include "force.h"
#include "kspace.h"
#include "memory.h"
#include "model/model_path.h"
#include "modify.h"
#include "neighbor.h"
#include "universe.h"
#include "update.h"

namespace so3md {

namespace {

// A ghost for every atom, in boxes without periodic directions, is what a cutoff beyond any box gives.
constexpr double kBeyondAnyBox = 1e6;

// The last counts with an uncertainty only. There is always room for it, as a compute pair may have been made when it counted.
constexpr int kComponents = 6, kComponentsWithUncertainty = 7;

}  // namespace

PairSo3krates::PairSo3krates(LAMMPS_NS::LAMMPS* lammps) : Pair(lammps), components_(kComponentsWithUncertainty, 0.0) {
  single_enable = 0;
  restartinfo = 1;
  one_coeff = 1;
  manybody_flag = 1;
  no_virial_fdotr_compute = 1;
  centroidstressflag = LAMMPS_NS::CENTROID_NOTAVAIL;  // an atom's energy has no share of its own in the forces on others
  comm_forward = 2;                                   // LAMMPS sizes its buffers by this, so that it must not be raised later
  nextra = kComponents;
  pvector = components_.data();
}

PairSo3krates::~PairSo3krates() {
  if (copymode || !allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
}

void PairSo3krates::settings(int count, char** words) {
  const DefaultArithmetic arithmetic;  // of threads that start here too
  settings_ = parse_settings(count, words, lmp);
  settings_words_.assign(words, words + count);
  const std::string units = update->unit_style;
  if (units != "metal" && units != "real")
    stop("it works in units metal and real, and these are " + units + ": add the command units metal");
  energy_unit_ = units == "metal" ? 1.0 : LAMMPS_NS::utils::get_conversion_factor(LAMMPS_NS::utils::ENERGY, LAMMPS_NS::utils::METAL2REAL);
  open_models();
  ewaldflag = pppmflag = model_->hyper.electrostatics ? 1 : 0;  // where extract() has a word on kspace styles
  if (!element_words_.empty()) map_elements();                  // LAMMPS keeps the coefficients if a pair style is given anew
}

void PairSo3krates::open_models() {
  engine_.reset();  // before the threads that it uses
  uncertainty_output_.reset();
  heat_flux_.reset();
  const int number_on_node = process_on_node();
  collectively(lmp, [this, number_on_node] {
    Device& device = settings_.engine.device;
    settings_.engine.device_messages = device.kind != DeviceKind::cpu && mpi_takes_device_memory();
    if (device.kind != DeviceKind::cpu && !settings_.device_by_number) device.index = number_on_node % count_devices(device.kind);
    read_models();
    pool_ = std::make_unique<ThreadPool>(settings_.threads);
    pool_->parallel_for(pool_->size() + 1, 1, [](int, int, int) {});  // threads start here, where all processes learn if they cannot
  });
  choose_long_range();
  make_engine();
  check_given_cutoff();
  if (settings_.kspace && !model_->hyper.electrostatics)
    stop("coulomb kspace: the model " + settings_.models_text() + " has no electrostatics");
  kspace_ = settings_.kspace ? std::make_unique<KspacePotential>(lmp, model_->hyper.electrostatics_sigma, energy_unit_) : nullptr;
  atoms_.reset();
  protons_ = -1.0;
  told_of_change_ = false;
  told_of_masses_.clear();
}

// The same file twice would agree with itself about everything.
void PairSo3krates::read_models() {
  models_.clear();
  std::vector<std::string> paths;
  for (const std::string& name : settings_.models) {
    try {
      paths.push_back(find_model(name));
    } catch (const std::runtime_error& missing) {
      if (paths.empty()) throw;
      throw std::runtime_error("unknown keyword '" + name + "'; the keywords are " + known_keywords() +
                               "; and as a further model: " + missing.what());
    }
    for (std::size_t k = 0; k + 1 < paths.size(); ++k)
      if (std::filesystem::equivalent(paths[k], paths.back()))
        throw std::runtime_error("expected different models, found " + settings_.models[k] + " and " + name + ", which are one file");
    models_.push_back(std::make_shared<const Model>(read_model(paths.back())));
  }
  check_members(models_, settings_.models);
  model_ = models_.front();
}

void PairSo3krates::make_engine() {
  heat_flux_.reset();  // it has the same cutoff
  committee_ = nullptr;
  collectively(lmp, [this] {
    check_options(settings_.engine);
    if (models_.size() == 1) {
      engine_ = create_engine(model_, settings_.engine, *pool_);
      return;
    }
    auto committee = std::make_unique<Committee>(models_, settings_.engine, *pool_);
    committee_ = committee.get();
    engine_ = std::move(committee);
  });
  engine_options_ = settings_.engine;
  prepare_uncertainty();
  described_ = false;
}

// What compute pair can ask for is fixed when that is made, which is after this.
void PairSo3krates::prepare_uncertainty() {
  const bool known = committee_ != nullptr || predicts_uncertainty(*model_, settings_.engine);
  if (settings_.uncertainty.asked() && !known)
    stop("out_file, out_freq and threshold need an uncertainty, which the model " + settings_.models_text() +
         " has not: name several models, or one that so3md train or finetune made, on device cpu");
  nextra = known ? kComponentsWithUncertainty : kComponents;
  components_.back() = 0.0;
  uncertainties_.clear();
  if (known && !uncertainty_output_)
    uncertainty_output_ = std::make_unique<UncertaintyOutput>(lmp, settings_.uncertainty, from_restart_file_);
}

// The model's lengths where the input gives none. The boundaries on which they depend may change until a run begins.
void PairSo3krates::choose_long_range() {
  const LongRangeSettings& own = model_->long_range;
  settings_.engine.long_range_cutoff = settings_.lr_cutoff.value_or(periodic() ? own.periodic : own.molecules);
  settings_.engine.dispersion_damping = settings_.lr_damping.value_or(own.damping);
}

// Number of this process among those of its machine; partitions, which do not meet here, are taken to have as many processes each.
int PairSo3krates::process_on_node() {
  MPI_Comm node;
  int number = 0, size = 1;
  MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, comm->me, MPI_INFO_NULL, &node);
  MPI_Comm_rank(node, &number);
  MPI_Comm_size(node, &size);
  processes_of_node_ = size;
  MPI_Comm_free(&node);
  return universe->iworld * size + number;
}

void PairSo3krates::coeff(int count, char** words) {
  if (count < 2 || std::strcmp(words[0], "*") != 0 || std::strcmp(words[1], "*") != 0)
    stop("expected pair_coeff * * and the element of each atom type, or NULL for types of other pair styles");
  element_words_.assign(words + 2, words + count);
  map_elements();
}

// LAMMPS's own tail is a constant of the types; this one follows the atoms.
void PairSo3krates::modify_params(int count, char** words) {
  Pair::modify_params(count, words);
  if (!tail_flag) return;
  stop(std::string("pair_modify tail yes has no effect on this style: give dispersion_tail yes on the line of pair_style so3krates") +
       (in_hybrid() ? ", and pair_modify pair STYLE tail yes for the other styles" : ""));
}

void PairSo3krates::map_elements() {
  const int types = atom->ntypes;
  if (static_cast<int>(element_words_.size()) != types)
    stop("pair_coeff names " + std::to_string(element_words_.size()) + " elements, and there are " + std::to_string(types) +
         " atom types: expected one element for each, or NULL for types of other pair styles");
  if (!allocated) {
    memory->create(setflag, types + 1, types + 1, "pair:setflag");
    memory->create(cutsq, types + 1, types + 1, "pair:cutsq");
    allocated = 1;
  }
  species_of_type_.assign(1, -1);
  std::string known;
  for (int number : model_->elements) known += std::string(known.empty() ? "" : " ") + element_symbol(number);
  for (const std::string& word : element_words_) {
    const int species = word == "NULL" ? -1 : model_->species_of(atomic_number(word));
    if (word != "NULL" && species < 0)
      stop("the model " + settings_.models_text() + " does not know the element '" + word + "'; it knows " + known);
    species_of_type_.push_back(species);
  }
  for (int i = 1; i <= types; ++i)
    for (int j = 1; j <= types; ++j)
      setflag[i][j] = species_of_type_[static_cast<std::size_t>(i)] >= 0 && species_of_type_[static_cast<std::size_t>(j)] >= 0 ? 1 : 0;
  if (std::all_of(species_of_type_.begin(), species_of_type_.end(), [](int species) { return species < 0; }))
    stop("pair_coeff gives no atom type an element");
}

void PairSo3krates::init_style() {
  const DefaultArithmetic arithmetic;
  choose_long_range();
  check_host();
  if (settings_.engine.long_range_cutoff != engine_options_.long_range_cutoff) make_engine();
  look_at_exclusions();
  check_computes();
  if (kspace_) {
    kspace_->check();
    kspace_->start_run();
  }
  const double skin = neighbor->skin;
  const double long_range = kspace_ && !model_->hyper.dispersion ? 0.0 : long_range_cutoff(*model_, settings_.engine);
  atoms_ = std::make_unique<LocalAtoms>(species_of_type_, cutoff_of_network() + skin, long_range > 0.0 ? long_range + skin : 0.0);
  if (!transport_) transport_ = std::make_unique<MpiTransport>(world);
  halo_ = std::make_unique<PlannedHalo>(*transport_);
  built_calls_ = built_step_ = evaluated_step_ = -1;
  cost_ = {};
  given_pairs_.assign(static_cast<std::size_t>(number_of_pair(atom->ntypes, atom->ntypes)) + 1, false);
  pairs_are_checked_ = false;
  check_electrons(Moment::start_of_run);
  forget_charges();
  warn_of_masses();
  if (described_) return;
  warn_of_charged_cell();
  warn_of_field();
  warn_of_settings();
  describe();
  described_ = true;
}

// LAMMPS's computes make a heat flux of the stresses of atoms, which holds for sums over pairs or bonds only (docs/lammps.md). It refuses
// centroid/stress/atom of pairs itself, where a word is due on why; tally computes would find nothing and only be warned of.
void PairSo3krates::check_computes() {
  std::string found;
  for (const auto* compute : modify->get_compute_list()) {
    const std::string style = compute->style;
    if (style.ends_with("/tally")) {
      const std::string message =
          "compute " + (compute->id + (" " + style)) + " divides the force of every pair of atoms, which this style does not have";
      if (!in_hybrid()) stop(message + ": remove it");
      warn(message);
    }
    if (style == "centroid/stress/atom" || style == "heat/flux")
      found += (found.empty() ? "compute " : ", ") + (compute->id + (" " + style));
  }
  if (!found.empty() && found != compute_warning_)
    warn(
        found +
        ": heat fluxes from stresses of atoms are wrong for this style, because an atom's energy depends on atoms several neighbours away; "
        "use compute so3krates/heat/flux; stress/atom is right for stresses only");
  compute_warning_ = found;
}

void PairSo3krates::describe() const {
  if (comm->me != 0) return;
  const EngineOptions& options = settings_.engine;
  std::string text = "so3krates: model " + settings_.models.front() + " (" + model_->path + ")";
  for (std::size_t k = 1; k < models_.size(); ++k) text += ", " + settings_.models[k] + " (" + models_[k]->path + ")";
  text += ", charge " + number_text(settings_.totals.charge) + ", spin " + number_text(settings_.totals.spin) + "\n  cutoffs " +
          number_text(cutoff_of_network()) + " and " + long_range_text() + ", coulomb " + coulomb_word() +
          (kspace_ ? " (gewald " + number_text(force->kspace->g_ewald) + ")" : "") + ", precision " +
          (options.precision == Precision::mixed ? "mixed" : "double") + " (" + engine_->report().instruction_set + "), " +
          std::to_string(pool_->size()) + " thread(s) in each of " + std::to_string(comm->nprocs) + " process(es)\n";
  if (options.device.kind != DeviceKind::cpu)
    text += settings_.device_by_number ? "  all processes of a machine use its GPU number " + std::to_string(options.device.index) + "\n"
                                       : std::string("  the processes of a machine use its GPUs in turn\n");
  text += field_text();
  if (options.device_messages && comm->nprocs > 1) text += "  MPI takes messages from the memory of the GPUs\n";
  if (atom->molecular != LAMMPS_NS::Atom::ATOMIC)
    text += "  all pairs count, also bonded ones: special_bonds has no effect on this pair style\n";
  LAMMPS_NS::utils::logmesg(lmp, text);
  const double atoms = static_cast<double>(atom->natoms);
  for (const std::string& warning : {engine_->table_warning(), ewald_warning(*model_, options, cell(), atoms)})
    if (!warning.empty()) warn(warning);
}

std::string PairSo3krates::coulomb_word() const {
  if (settings_.kspace) return "kspace";
  return settings_.engine.coulomb == Coulomb::ewald ? "ewald" : "cut";
}

std::string PairSo3krates::field_text() const {
  const ElectricField& field = settings_.engine.electric_field;
  if (field.is_zero()) return {};
  return "  electric field " + number_text(field.x) + " " + number_text(field.y) + " " + number_text(field.z) + " V/A\n";
}

// The long-range cutoff, and whose choice it is.
std::string PairSo3krates::long_range_text() const {
  if (!model_->hyper.has_long_range()) return "no long-range terms";
  const LongRangeSettings& own = model_->long_range;
  const EngineOptions& options = settings_.engine;
  const auto length = [](double value) { return std::isinf(value) ? std::string("none") : number_text(value) + " A"; };
  const std::string systems = periodic() ? "periodic systems" : "systems without periodic directions";
  const double models = periodic() ? own.periodic : own.molecules;
  std::string text = length(options.long_range_cutoff);
  text += options.long_range_cutoff == models ? " (the model's for " + systems + ")"
                                              : " (given; the model was made with " + length(models) + " for " + systems + ")";
  if (std::isinf(options.long_range_cutoff)) return text;
  text += ", damping " + length(options.dispersion_damping);
  if (options.dispersion_damping != own.damping) text += " (given; the model's is " + length(own.damping) + ")";
  return options.dispersion_tail ? text + ", dispersion beyond it as of evenly spread atoms" : text;
}

// Of the pairs of types that are this style's own, also within hybrid styles, which LAMMPS asks for after init_style.
double PairSo3krates::init_one(int i, int j) {
  for (const int pair : {number_of_pair(i, j), number_of_pair(j, i)}) given_pairs_[static_cast<std::size_t>(pair)] = true;
  const double longest = cutoff();
  return std::isinf(longest) ? kBeyondAnyBox : longest;
}

bool PairSo3krates::periodic() const { return domain->xperiodic || domain->yperiodic || domain->zperiodic; }

double PairSo3krates::cutoff() const { return std::max(cutoff_of_network(), long_range_cutoff(*model_, settings_.engine)); }

double PairSo3krates::cutoff_of_network() const {
  double longest = 0.0;
  for (const auto& member : models_) longest = std::max(longest, member->hyper.cutoff);
  return longest;
}

// A kspace style beside charges of the model that interact without it.
void PairSo3krates::check_kspace() const {
  if (kspace_ || force->kspace == nullptr || !model_->hyper.electrostatics) return;
  stop("coulomb " + coulomb_word() +
       " would count the charges twice, as the kspace style does so too: remove kspace_style, or use coulomb kspace");
}

// A kspace style asks for the cutoff when it is initialised, which LAMMPS does before it initialises the pair style: the moment to set what
// the model fixes. Without that it would estimate g_ewald from charges that may all be zero yet.
void* PairSo3krates::extract(const char* name, int& dimension) {
  dimension = 0;
  if (std::strcmp(name, "cut_coul") != 0) return nullptr;
  check_kspace();
  if (!kspace_) return nullptr;
  kspace_->set_splitting();
  choose_long_range();
  require_cutoff();
  cut_coulomb_ = cutoff();
  return &cut_coulomb_;
}

void* PairSo3krates::extract_peratom(const char* name, int& columns) {
  columns = 0;
  const std::string quantity = name;
  if (!gives(quantity)) return nullptr;
  if (quantity == "charge") return charges_.data();
  return quantity == "uncertainty" ? uncertainties_.data() : hirshfeld_ratios_.data();
}

bool PairSo3krates::gives(const std::string& quantity) const {
  return (quantity == "charge" && model_->hyper.charge_head) || (quantity == "uncertainty" && uncertainty_output_ != nullptr) ||
         (quantity == "hirshfeld_ratio" && model_->hyper.hirshfeld_head);
}

double PairSo3krates::memory_usage() {
  const double own = 8.0 * static_cast<double>(charges_.capacity() + hirshfeld_ratios_.capacity() + uncertainties_.capacity());
  return Pair::memory_usage() + own + (atoms_ ? atoms_->memory() : 0.0);
}

bool PairSo3krates::in_hybrid() const { return force->pair != this; }

void PairSo3krates::stop(const std::string& message) const { error->all(FLERR, "Pair style so3krates: " + message); }

void PairSo3krates::warn(const std::string& message) const {
  if (comm->me == 0) error->warning(FLERR, "Pair style so3krates: " + message);
}

}  // namespace so3md
