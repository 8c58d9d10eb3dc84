/* so3md: So3krates force fields for programs in C, and in any language that can call C (docs/library.md).
 *
 * A model is read from a file, an engine evaluates it with certain options, and an evaluation takes a structure and gives energy, forces,
 * stress and properties of atoms. Units everywhere: Angstrom, eV, elementary charges.
 *
 * Status. Functions that can fail return so3md_status; what went wrong is then in so3md_last_error(). Nothing is thrown, and the process is
 * never ended.
 *
 * Ownership. What so3md_..._create or so3md_model_load made is given back by so3md_..._destroy. Nothing that is handed in is kept beyond
 * the call. Pointers in results and texts belong to the library; until when they are valid is said with each.
 *
 * Threads. Models never change once they are loaded, and may be shared by all threads. An engine serves one call at a time, from any
 * thread; several engines work independently at the same time. An engine has threads of its own (so3md_options::threads). Error texts are
 * kept for each thread. After a fork, the child makes engines of its own.
 *
 * Versions. Structs begin with their size, which so3md_..._init sets, and grow at their end only, so that a program runs with every later
 * library of the same SO3MD_C_INTERFACE without being compiled again. A library that is older than the header, and a struct that was not
 * initialised, are refused with SO3MD_ERROR_VERSION.
 */
#ifndef SO3MD_H
#define SO3MD_H

#include <stddef.h>
#include <stdint.h>

/* The number of this interface, which is also that of the shared library (libso3md.so.1): another number is another interface. */
#define SO3MD_C_INTERFACE 1

#if defined(__GNUC__)
#define SO3MD_API __attribute__((visibility("default")))
#else
#define SO3MD_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Status, errors and versions ------------------------------------------------------------------------------------------------- */

typedef int32_t so3md_status;

enum {
  SO3MD_OK = 0,
  SO3MD_ERROR_INPUT = 1,   /* an argument, option or structure that cannot be evaluated; nothing has happened, and the engine goes on */
  SO3MD_ERROR_MODEL = 2,   /* a model file that is missing, damaged, of a later version, or none */
  SO3MD_ERROR_VERSION = 3, /* a struct of a later so3md.h than the library, or one that was not initialised */
  SO3MD_ERROR_MEMORY = 4,  /* the memory of the process is used up */
  SO3MD_ERROR_RUNTIME = 5  /* what only this machine cannot do, such as a GPU that is not there, or threads that do not start */
};

/* Text for people on the last call of this thread that failed: what was expected, what was found, what to do. Never NULL; empty before the
 * first failure. Valid until the next call of the library that fails on this thread. */
SO3MD_API const char* so3md_last_error(void);

/* Version of the library, "major.minor.patch". Valid for ever. */
SO3MD_API const char* so3md_version(void);

/* SO3MD_C_INTERFACE of the library; that of the header is what the program was compiled with. */
SO3MD_API int32_t so3md_c_interface(void);

/* ---- Models -------------------------------------------------------------------------------------------------------------------------- */

typedef struct so3md_model so3md_model;

/* What a model is. Its pointers are valid until the model is destroyed. */
typedef struct so3md_model_info {
  size_t struct_size;
  int64_t num_elements;         /* number of elements that the model was trained for */
  const int32_t* elements;      /* [num_elements] their atomic numbers, increasing */
  double cutoff;                /* cutoff of the network, Angstrom */
  double lr_cutoff_periodic;    /* cutoff of electrostatics and dispersion that it was made for in systems with a periodic direction,
                                   Angstrom; infinity: it was not made for these */
  double lr_cutoff_molecules;   /* the same in systems without one; infinity: none */
  double lr_damping;            /* width over which dispersion is switched off before the cutoff, Angstrom */
  int32_t has_long_range;       /* 1 if there is electrostatics or dispersion, else 0, and the last three mean nothing */
  int32_t has_charges;          /* 1 if it predicts charges of atoms, else 0 */
  int32_t has_hirshfeld_ratios; /* 1 if it predicts Hirshfeld ratios, else 0 */
  int32_t reserved;             /* 0 */
  const char* metadata;         /* the JSON document of the file: hyperparameters, provenance, citation, licence; UTF-8 */
  int32_t has_c6_ratios;        /* 1 if it predicts ratios of C6, else 0 */
  int32_t reserved2;            /* 0 */
} so3md_model_info;

/* Reads a model file (docs/model_file.md), or the model that ships with so3md under this name ("so3lr"). Names are looked up in the
 * directories of the environment variable SO3MD_MODEL_PATH, separated by colons, then where so3md was installed. *model: the model; NULL
 * after an error. */
SO3MD_API so3md_status so3md_model_load(const char* name_or_path, so3md_model** model);

/* Engines of the model stay whole. NULL is fine. */
SO3MD_API void so3md_model_destroy(so3md_model* model);

/* `size`: sizeof(so3md_model_info). */
SO3MD_API so3md_status so3md_model_get_info(const so3md_model* model, so3md_model_info* info, size_t size);

/* ---- Engines ------------------------------------------------------------------------------------------------------------------------- */

typedef struct so3md_engine so3md_engine;

enum {
  SO3MD_PRECISION_MIXED = 0, /* network in single precision; geometry and sums of energy, forces and stress in double: the fast one */
  SO3MD_PRECISION_DOUBLE = 1 /* all in double precision */
};

enum {
  SO3MD_COULOMB_CUTOFF = 0, /* charges interact in pairs, up to lr_cutoff */
  SO3MD_COULOMB_EWALD = 1   /* with all periodic images, without a cutoff; for structures that are periodic along all three directions */
};

/* How EWALD adds up images. */
enum {
  SO3MD_EWALD_AUTO = 0, /* what takes less time */
  SO3MD_EWALD_SUM = 1,  /* a sum over waves and atoms, whose time grows with the square of their number */
  SO3MD_EWALD_MESH = 2  /* a particle mesh; not on GPUs */
};

/* In place of a length: the one that the model was made for, which may differ between periodic systems and molecules. */
#define SO3MD_OF_MODEL (-1.0)

/* How an engine evaluates. so3md_options_init gives every field its default. */
typedef struct so3md_options {
  size_t struct_size;
  int32_t precision;     /* SO3MD_PRECISION_...; default MIXED */
  int32_t threads;       /* 1 to 1024; 0 (default): OMP_NUM_THREADS, else all cores that the process may use */
  const char* device;    /* "cpu", "cuda", or "cuda:1" for a GPU by its number; NULL (default): the CPU. Not kept. */
  double lr_cutoff;      /* cutoff of electrostatics and dispersion, Angstrom; INFINITY: none, for molecules only; default SO3MD_OF_MODEL */
  double lr_damping;     /* width over which dispersion is switched off before lr_cutoff, Angstrom; default SO3MD_OF_MODEL */
  double skin;           /* what neighbour lists hold beyond the cutoffs, Angstrom; they are built anew when atoms have moved by half of it.
                            Default 0.5. Changes no result beyond rounding. */
  int32_t coulomb;       /* SO3MD_COULOMB_...; default CUTOFF */
  int32_t ewald_method;  /* SO3MD_EWALD_...; default AUTO */
  double ewald_accuracy; /* error that forces may have by EWALD in a system of charges of 1 e, eV/Angstrom, 1e-12 to 1; 0 (default): less
                            than that of the precision */
  int32_t dispersion_tail;  /* 1: dispersion beyond lr_cutoff counts too, as if atoms were spread evenly there; for structures that are
                               periodic along all three directions. Default 0. */
  int32_t reserved2;        /* 0 */
  double electric_field[3]; /* a uniform field that acts on the charges, x, y, z in V/Angstrom, each from -100 to 100; positions count as
                               they are given. In periodic structures: docs/electrostatics.md. Default 0: none. */
} so3md_options;

/* `size`: sizeof(so3md_options). */
SO3MD_API so3md_status so3md_options_init(so3md_options* options, size_t size);

/* options: NULL for the defaults. *engine: the engine; NULL after an error. */
SO3MD_API so3md_status so3md_engine_create(const so3md_model* model, const so3md_options* options, so3md_engine** engine);

/* NULL is fine. */
SO3MD_API void so3md_engine_destroy(so3md_engine* engine);

/* What is no error but should be known, of making the engine and of its last evaluation, such as an odd number of electrons with spin 0; a
 * line each. Never NULL; empty if there is nothing. Valid until the next call for this engine. */
SO3MD_API const char* so3md_engine_warnings(const so3md_engine* engine);

/* ---- Evaluations --------------------------------------------------------------------------------------------------------------------- */

/* A structure. so3md_system_init sets all to zero: no atoms, no periodic direction, no charge, no spin. */
typedef struct so3md_system {
  size_t struct_size;
  int64_t num_atoms;             /* n */
  const int32_t* atomic_numbers; /* [n] */
  const double* positions;       /* [n][3] Angstrom; x, y, z of one atom after the other, wrapped into the cell or not */
  const double* cell;            /* [3][3] Angstrom, one lattice vector after the other, of either handedness; NULL without a periodic
                                    direction. Vectors of directions that are not periodic count for the volume only. */
  int32_t pbc[3];                /* for each lattice vector: 1 if the structure repeats along it, else 0 */
  int32_t reserved;              /* 0 */
  double charge;                 /* total charge, elementary charges, an integer */
  double spin;                   /* total spin S, half the number of unpaired electrons: 0, 0.5, 1, ... */
} so3md_system;

/* `size`: sizeof(so3md_system). */
SO3MD_API so3md_status so3md_system_init(so3md_system* system, size_t size);

/* What is evaluated beside energies and properties of atoms; add up what is wanted. */
enum {
  SO3MD_ENERGY = 0,        /* nothing else */
  SO3MD_FORCES = 1,        /* forces, virial and stress; takes more than twice as long */
  SO3MD_ATOMIC_VIRIALS = 2 /* atomic_virials; with SO3MD_FORCES only */
};

/* What an evaluation gives. Atoms are in the order of the structure. Pointers are NULL for what was not asked for or the model does not
 * predict, and valid until the next call for the engine. */
typedef struct so3md_results {
  size_t struct_size;
  int64_t num_atoms;              /* n */
  double energy;                  /* potential energy, eV; the sum of the next four */
  double energy_network;          /* eV, with the atomic energy shifts of the model */
  double energy_repulsion;        /* Ziegler-Biersack-Littmark, eV */
  double energy_electrostatics;   /* eV, with the energy of charges in electric_field */
  double energy_dispersion;       /* eV */
  const double* energies;         /* [n] energies of atoms, with half of each pair; they add up to the energy; eV */
  const double* forces;           /* [n][3] minus the derivatives of the energy by the positions, eV/Angstrom */
  const double* atomic_virials;   /* [n][3][3] of each atom half of d (x) dE/dd over its pairs, d the displacement; they add up to the
                                     virial; eV */
  const double* charges;          /* [n] partial charges, elementary charges; they add up to the total charge */
  const double* hirshfeld_ratios; /* [n] volume of each atom over that of the free atom */
  double virial[9];               /* [3][3] derivative of the energy by strain, eV; zero without SO3MD_FORCES */
  double stress[6];               /* xx yy zz yz xz xy of the virial over the volume, eV/Angstrom^3, positive under tension as in ASE */
  double volume;                  /* of the cell, Angstrom^3; 0 if it has none */
  int32_t has_stress;             /* 1 if stress was evaluated, which needs a periodic direction, three lattice vectors and SO3MD_FORCES */
  int32_t reserved;               /* 0 */
  const double* c6_ratios;        /* [n] dispersion coefficient C6 of each atom over that of the free atom */
} so3md_results;

/* `size`: sizeof(so3md_results). */
SO3MD_API so3md_status so3md_results_init(so3md_results* results, size_t size);

/* Evaluates a structure. Neighbour lists and memory are kept for the next call, which may be of any structure. `what`: a sum of
 * SO3MD_FORCES, ... After an error, *results is untouched, but what its pointers show is no longer valid. */
SO3MD_API so3md_status so3md_evaluate(so3md_engine* engine, const so3md_system* system, int32_t what, so3md_results* results);

#ifdef __cplusplus
}
#endif

#endif
