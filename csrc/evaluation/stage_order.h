// The order of the stages of an evaluation, from the network to the sums, and which terms it has: written once for engines on the CPU and
// on GPUs. An engine computes the stages; it names this struct a friend. What comes before, edges and the first sum over all processes, is
// the engine's own: one on a device does not wait for what another must know.
#pragma once

#include <vector>

#include "evaluation/engine.h"
#include "halo/halo_exchange.h"

namespace so3md {

/// What an engine brings, in this order (equation numbers refer to docs/theory.md):
///
/// - network_forward, network_adjoint: features and readouts; from gradients on the readouts to forces and virials;
/// - finish_readouts: charges and Hirshfeld ratios of the network's readouts (eq. 30);
/// - conserve_charge, readout_gradients: the charge of each system is conserved (eq. 28), and back to gradients of readouts (eq. 43). They
///   take sums of charges and of charge_gradients over the atoms of each system, as sum_by_system makes them on all processes;
/// - ewald, host_electrostatics: charges with all periodic images, by the engine and by its host;
/// - fill_pairs, pair_rows, evaluate_pairs: electrostatics and dispersion over the long list (eq. 34 to 40). Other processes need
///   `pair_rows` in between;
/// - dispersion_tail: dispersion beyond the cutoff of those pairs (eq. 85 to 87);
/// - electric_field: charges in a uniform field (eq. 89 to 91);
/// - external_potential: charges in the potential that the host gives (eq. 104, 105), the last of the terms that give gradients of charges;
/// - sum_energies: atomic energies, and the sums of their parts.
struct StageOrder {
  template <class AnyEngine, class Halo, class Timer>
  static void run(AnyEngine& engine, const LongRangeTerms& terms, const Request& request, Halo& halo, Timer& timer) {
    engine.network_forward(request.features);
    engine.finish_readouts();
    if (terms.charges) engine.conserve_charge(engine.sum_by_system(engine.charges()));
    timer.lap("readouts");
    if (terms.ewald) {
      engine.ewald();
      timer.lap("ewald");
    }
    if (terms.host_electrostatics) {
      engine.host_electrostatics();
      timer.lap("host electrostatics");
    }
    if (terms.pairs()) pairs(engine, halo, timer);
    if (terms.dispersion_tail) {
      engine.dispersion_tail();
      timer.lap("long range");
    }
    if (terms.electric_field) {
      engine.electric_field();
      timer.lap("long range");
    }
    if (terms.external_potential) {
      engine.external_potential();
      timer.lap("long range");
    }
    finish(engine, terms, request.forces, timer);
  }

  /// The end of run(). Without forces first, it can follow once more with them.
  template <class AnyEngine, class Timer>
  static void finish(AnyEngine& engine, const LongRangeTerms& terms, bool forces, Timer& timer) {
    if (forces) adjoint(engine, terms, timer);
    engine.sum_energies();
    timer.lap("sums");
  }

 private:
  template <class AnyEngine, class Halo, class Timer>
  static void pairs(AnyEngine& engine, Halo& halo, Timer& timer) {
    engine.fill_pairs();
    timer.lap("long range");
    const auto rows = engine.pair_rows();
    halo.start(Reach::all, rows);
    halo.finish();
    timer.lap("exchange");
    engine.evaluate_pairs();
    timer.lap("long range");
  }

  template <class AnyEngine, class Timer>
  static void adjoint(AnyEngine& engine, const LongRangeTerms& terms, Timer& timer) {
    if (terms.act_on_charges())
      engine.readout_gradients(engine.sum_by_system(engine.charge_gradients()));
    else
      engine.readout_gradients({});
    timer.lap("readouts");
    engine.network_adjoint();
  }
};

}  // namespace so3md
