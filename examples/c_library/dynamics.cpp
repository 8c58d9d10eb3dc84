// Molecular dynamics of a water molecule: velocity Verlet, 0.2 fs, energies on standard output.
#include <cstdio>
#include <exception>
#include <so3md/so3md.hpp>
#include <vector>

int main(int argc, char** argv) try {
  so3md::Options options;
  options.precision = SO3MD_PRECISION_DOUBLE;
  so3md::Engine engine(so3md::Model(argc > 1 ? argv[1] : "so3lr"), options);

  const std::vector<std::int32_t> numbers = {8, 1, 1};
  const std::vector<double> masses = {15.999, 1.008, 1.008};                              // u
  std::vector<double> positions = {0.0, 0.0, 0.12, 0.0, 0.80, -0.47, 0.0, -0.74, -0.47};  // A
  std::vector<double> velocities(positions.size(), 0.0);                                  // A/fs
  constexpr double kStep = 0.2, kAcceleration = 0.009648533212331;                        // fs; eV/(A u) in A/fs^2

  so3md::Results results = engine.evaluate({numbers, positions});
  const auto kick = [&] {  // half a step
    for (std::size_t k = 0; k < velocities.size(); ++k) velocities[k] += 0.5 * kStep * kAcceleration * results.forces()[k] / masses[k / 3];
  };
  for (int step = 0; step <= 200; ++step) {
    double kinetic = 0.0;
    for (std::size_t k = 0; k < velocities.size(); ++k) kinetic += 0.5 * masses[k / 3] * velocities[k] * velocities[k] / kAcceleration;
    if (step % 20 == 0) std::printf("%6.1f fs  potential %.12f  total %.12f eV\n", kStep * step, results.energy, results.energy + kinetic);
    kick();
    for (std::size_t k = 0; k < positions.size(); ++k) positions[k] += kStep * velocities[k];
    results = engine.evaluate({numbers, positions});
    kick();
  }
} catch (const std::exception& error) {
  std::fprintf(stderr, "so3md: %s\n", error.what());
  return 1;
}
