/* A dimer of water in a periodic box, in double precision: energy, stress, forces and charges on standard output. */
#include <so3md/so3md.h>
#include <stdio.h>
#include <stdlib.h>

static const int32_t numbers[6] = {8, 1, 1, 8, 1, 1};
static const double positions[6][3] = {{4.00, 5.00, 5.00}, {3.43, 5.77, 5.00}, {3.43, 4.23, 5.00},
                                       {6.90, 5.00, 5.00}, {5.94, 5.00, 5.00}, {7.14, 5.66, 5.66}};
static const double cell[3][3] = {{9.0, 0.0, 0.0}, {1.0, 10.0, 0.0}, {0.0, 0.0, 11.0}};

static void check(so3md_status status) {
  if (status == SO3MD_OK) return;
  fprintf(stderr, "so3md: %s\n", so3md_last_error());
  exit(1);
}

int main(int argc, char** argv) {
  so3md_model* model;
  check(so3md_model_load(argc > 1 ? argv[1] : "so3lr", &model));

  so3md_options options;
  check(so3md_options_init(&options, sizeof options));
  options.precision = SO3MD_PRECISION_DOUBLE;
  options.threads = 1;
  so3md_engine* engine;
  check(so3md_engine_create(model, &options, &engine));
  so3md_model_destroy(model); /* the engine keeps what it needs */

  so3md_system system;
  check(so3md_system_init(&system, sizeof system));
  system.num_atoms = 6;
  system.atomic_numbers = numbers;
  system.positions = &positions[0][0];
  system.cell = &cell[0][0];
  for (int k = 0; k < 3; ++k) system.pbc[k] = 1;

  so3md_results results;
  check(so3md_results_init(&results, sizeof results));
  check(so3md_evaluate(engine, &system, SO3MD_FORCES, &results));
  fputs(so3md_engine_warnings(engine), stderr);

  printf("energy %.17g eV\n", results.energy);
  printf("stress");
  for (int k = 0; k < 6; ++k) printf(" %.17g", results.stress[k]);
  printf(" eV/A^3\n");
  for (int64_t i = 0; i < results.num_atoms; ++i) {
    const double* f = &results.forces[3 * i];
    printf("atom %d: force %.17g %.17g %.17g eV/A, charge %.17g e\n", (int)i, f[0], f[1], f[2], results.charges[i]);
  }
  so3md_engine_destroy(engine);
  return 0;
}
