// Restart files hold the words of pair_style and pair_coeff; the model itself stays in its own file, which must still be found. Lengths
// that the model decides are written too: a run goes on as it began.
#include <mpi.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "comm.h"
#include "error.h"
#include "pair_so3krates.h"
#include "utils.h"

namespace so3md {

namespace {

// Changes whenever what is written does.
constexpr int kFormat = 1;
constexpr int kMostWords = 1 << 16;

void write_words(FILE* file, const std::vector<std::string>& words) {
  const auto write_int = [file](int value) { std::fwrite(&value, sizeof(int), 1, file); };
  write_int(static_cast<int>(words.size()));
  for (const std::string& word : words) {
    write_int(static_cast<int>(word.size()));
    std::fwrite(word.data(), 1, word.size(), file);
  }
}

// Process 0 has the file; all get the words.
class WordReader {
 public:
  WordReader(FILE* file, LAMMPS_NS::LAMMPS* lammps) : file_(file), lammps_(lammps) {}

  int read_int() {
    int value = 0;
    if (lammps_->comm->me == 0) LAMMPS_NS::utils::sfread(FLERR, &value, sizeof(int), 1, file_, nullptr, lammps_->error);
    MPI_Bcast(&value, 1, MPI_INT, 0, lammps_->world);
    return value;
  }

  std::vector<std::string> read_words() {
    std::vector<std::string> words(read_size());
    for (std::string& word : words) {
      word.resize(read_size());
      const int length = static_cast<int>(word.size());
      if (length > 0 && lammps_->comm->me == 0)
        LAMMPS_NS::utils::sfread(FLERR, word.data(), 1, word.size(), file_, nullptr, lammps_->error);
      MPI_Bcast(word.data(), length, MPI_CHAR, 0, lammps_->world);
    }
    return words;
  }

 private:
  // As many words as there may be atom types, and as long as a path may be.
  std::size_t read_size() {
    const int size = read_int();
    if (size < 0 || size > kMostWords) lammps_->error->all(FLERR, "Pair style so3krates: the restart file is damaged: use another one");
    return static_cast<std::size_t>(size);
  }

  FILE* file_;
  LAMMPS_NS::LAMMPS* lammps_;
};

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> result;
  for (std::string& word : words) result.push_back(word.data());
  return result;
}

bool has_keyword(const std::vector<std::string>& words, const std::string& keyword) {
  return std::find(words.begin() + 1, words.end(), keyword) != words.end();
}

void add_missing(std::vector<std::string>& words, const std::string& keyword, const std::string& value) {
  if (!has_keyword(words, keyword)) words.insert(words.end(), {keyword, value});
}

std::string exact_text(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.17g", value);
  return std::isinf(value) ? "none" : text;
}

}  // namespace

std::vector<std::string> PairSo3krates::words_for_restart() const {
  std::vector<std::string> words = settings_words_;
  // A kspace style rules out none, which a box that is not periodic yet would have.
  if (!settings_.kspace || !std::isinf(settings_.engine.long_range_cutoff))
    add_missing(words, "lr_cutoff", exact_text(settings_.engine.long_range_cutoff));
  add_missing(words, "lr_damping", exact_text(settings_.engine.dispersion_damping));
  return words;
}

void PairSo3krates::write_restart_settings(FILE* file) {
  std::fwrite(&kFormat, sizeof(int), 1, file);
  write_words(file, words_for_restart());
}

void PairSo3krates::read_restart_settings(FILE* file) {
  from_restart_file_ = true;
  WordReader reader(file, lmp);
  const int format = reader.read_int();
  if (format != kFormat)
    stop("the restart file has the format " + std::to_string(format) + " of this pair style, and this version of so3md reads " +
         std::to_string(kFormat) + ": give the commands pair_style and pair_coeff in the input of the version that wrote it");
  std::vector<std::string> words = reader.read_words();
  // Only files from before models decided have none: these were the lengths then.
  add_missing(words, "lr_cutoff", "12");
  add_missing(words, "lr_damping", "2");
  settings(static_cast<int>(words.size()), pointers(words).data());
}

void PairSo3krates::write_restart(FILE* file) {
  write_restart_settings(file);
  write_words(file, element_words_);
}

void PairSo3krates::read_restart(FILE* file) {
  read_restart_settings(file);
  std::vector<std::string> words = WordReader(file, lmp).read_words();
  words.insert(words.begin(), 2, "*");
  coeff(static_cast<int>(words.size()), pointers(words).data());
}

}  // namespace so3md
