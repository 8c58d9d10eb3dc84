// Scores and sums of messages in a training step.
#pragma once

#include "cpu/training_channels.h"

namespace SO3MD_CPU_NAMESPACE::training {

/// Eqs. (19) to (21): scores of both blocks and the sums of messages.
template <class Real>
struct EdgeSumStep {
  std::int64_t pairs, atoms, features, heads, coordinate_heads;
  const std::int64_t* first;  ///< (pairs), and so `second`
  const std::int64_t* second;
  const Real* projections = nullptr;  ///< (5, atoms, features): queries, keys, values; queries, keys of the coordinates
  const Real* filters = nullptr;      ///< (2, pairs, features)
  const Real* factor = nullptr;       ///< (pairs), cutoff function over the normaliser
  Real* scores = nullptr;             ///< (2, pairs, heads), direction first
  Real* coordinate_scores = nullptr;  ///< (2, pairs, coordinate_heads)
  Real* sums = nullptr;               ///< (atoms, features), added to
  // The way back.
  const Real* by_sums = nullptr;               ///< dE/d(sums)
  const Real* by_coordinate_scores = nullptr;  ///< (2, pairs, coordinate_heads)
  Real* by_alpha = nullptr;                    ///< (2, pairs, heads), derivatives with respect to scores times factor
  Real* by_projections = nullptr;              ///< added to; null where projections do not depend on positions
  Real* by_filters = nullptr;                  ///< (2, pairs, features)
  // Derivatives along the direction.
  const Real* projection_tangents = nullptr;  ///< null where projections do not depend on positions
  const Real* filter_tangents = nullptr;      ///< (2, pairs, features)
  const Real* factor_tangents = nullptr;      ///< (pairs)
  Real* alpha_tangents = nullptr;             ///< (2, pairs, heads)
  Real* coordinate_score_tangents = nullptr;  ///< (2, pairs, coordinate_heads)
  Real* sum_tangents = nullptr;               ///< (atoms, features), added to
  // The last sweep.
  const Real* gradient = nullptr;             ///< dL/d(sums)
  const Real* coordinate_gradient = nullptr;  ///< (2, pairs, coordinate_heads)
  Real* projection_gradient = nullptr;        ///< (5, atoms, features), added to
  Real* filter_gradient = nullptr;            ///< (2, pairs, features)
};

/// One direction of a pair: rows of the atoms c (centre) and b (neighbour).
struct Edge {
  std::int64_t pair, direction, c, b;
};

/// Calls body for each edge. The two directions of a pair follow each other; they may share an atom, if it is its own image.
template <class Real, class Body>
inline __attribute__((always_inline)) void for_edges(const EdgeSumStep<Real>& step, const Body& body) {
  for (std::int64_t p = 0; p < step.pairs; ++p)
    for (std::int64_t direction = 0; direction < 2; ++direction) {
      const std::int64_t i = step.first[p], j = step.second[p];
      body(Edge{p, direction, direction ? j : i, direction ? i : j});
    }
}

/// Rows of an array (5, atoms, features).
template <class Real>
struct Projections {
  Real* data;
  std::int64_t atoms, features;

  Real* q(int block, std::int64_t atom) const { return data + ((block ? 3 : 0) * atoms + atom) * features; }
  Real* k(int block, std::int64_t atom) const { return data + ((block ? 4 : 1) * atoms + atom) * features; }
  Real* v(std::int64_t atom) const { return data + (2 * atoms + atom) * features; }
};

template <class Real>
std::int64_t heads_of(const EdgeSumStep<Real>& step, int block) {
  return block ? step.coordinate_heads : step.heads;
}

/// Place of the numbers of an edge, one for each head.
template <class Real>
std::int64_t place(const EdgeSumStep<Real>& step, const Edge& edge, int block) {
  return (edge.direction * step.pairs + edge.pair) * heads_of(step, block);
}

template <class Real>
void sums_forward(const EdgeSumStep<Real>& step) {
  const std::int64_t features = step.features;
  const Projections<const Real> from{step.projections, step.atoms, features};
  for_edges<Real>(step, [&](const Edge& edge) {
    for (int block = 0; block < 2; ++block) {
      const std::int64_t heads = heads_of(step, block), width = features / heads;
      const Real *q = from.q(block, edge.c), *k = from.k(block, edge.b);
      const Real* w = step.filters + (block * step.pairs + edge.pair) * features;
      Real* s = (block ? step.coordinate_scores : step.scores) + place(step, edge, block);
      for (std::int64_t h = 0; h < heads; ++h) {
        ChannelSum<Real> score;
        for_channels<Real>(h * width, (h + 1) * width,
                           [&](std::int64_t e, auto lanes) { score.add(lanes.get(q + e) * lanes.get(k + e) * lanes.get(w + e)); });
        s[h] = score.total();
        if (block) continue;
        const Real alpha = s[h] * step.factor[edge.pair];
        const Real* v = from.v(edge.b);
        Real* to = step.sums + edge.c * features;
        for_channels<Real>(h * width, (h + 1) * width, [&](std::int64_t e, auto lanes) { lanes.add(to + e, alpha * lanes.get(v + e)); });
      }
    }
  });
}

template <class Real>
void sums_adjoint(const EdgeSumStep<Real>& step) {
  const std::int64_t features = step.features;
  const bool moves = step.by_projections != nullptr;
  const Projections<const Real> from{step.projections, step.atoms, features};
  const Projections<Real> to{step.by_projections, step.atoms, features};
  for_edges<Real>(step, [&](const Edge& edge) {
    const Real factor = step.factor[edge.pair];
    for (int block = 0; block < 2; ++block) {
      const std::int64_t heads = heads_of(step, block), width = features / heads, at = place(step, edge, block);
      const Real *q = from.q(block, edge.c), *k = from.k(block, edge.b);
      const Real* w = step.filters + (block * step.pairs + edge.pair) * features;
      Real* by_w = step.by_filters + (block * step.pairs + edge.pair) * features;
      for (std::int64_t h = 0; h < heads; ++h) {
        const std::int64_t begin = h * width, end = begin + width;
        Real g;
        if (block) {
          g = step.by_coordinate_scores[at + h];
        } else {
          const Real *v = from.v(edge.b), *by_sum = step.by_sums + edge.c * features;
          ChannelSum<Real> by_alpha;
          for_channels<Real>(begin, end, [&](std::int64_t e, auto lanes) { by_alpha.add(lanes.get(by_sum + e) * lanes.get(v + e)); });
          step.by_alpha[at + h] = by_alpha.total();
          g = by_alpha.total() * factor;
          if (moves) {
            const Real alpha = step.scores[at + h] * factor;
            Real* by_v = to.v(edge.b);
            for_channels<Real>(begin, end, [&](std::int64_t e, auto lanes) { lanes.add(by_v + e, alpha * lanes.get(by_sum + e)); });
          }
        }
        for_channels<Real>(begin, end, [&](std::int64_t e, auto lanes) {
          const auto part = g * lanes.get(q + e) * lanes.get(k + e);
          if (edge.direction)
            lanes.add(by_w + e, part);
          else
            lanes.put(by_w + e, part);
        });
        if (!moves) continue;
        Real *by_q = to.q(block, edge.c), *by_k = to.k(block, edge.b);
        for_channels<Real>(begin, end, [&](std::int64_t e, auto lanes) {
          const auto gw = g * lanes.get(w + e);
          lanes.add(by_q + e, gw * lanes.get(k + e));
          lanes.add(by_k + e, gw * lanes.get(q + e));
        });
      }
    }
  });
}

template <class Real>
void sums_tangent(const EdgeSumStep<Real>& step) {
  const std::int64_t features = step.features;
  const bool moves = step.projection_tangents != nullptr;
  const Projections<const Real> from{step.projections, step.atoms, features}, along{step.projection_tangents, step.atoms, features};
  for_edges<Real>(step, [&](const Edge& edge) {
    for (int block = 0; block < 2; ++block) {
      const std::int64_t heads = heads_of(step, block), width = features / heads, at = place(step, edge, block);
      const Real *q = from.q(block, edge.c), *k = from.k(block, edge.b);
      const Real *dq = moves ? along.q(block, edge.c) : q, *dk = moves ? along.k(block, edge.b) : k;
      const Real* w = step.filters + (block * step.pairs + edge.pair) * features;
      const Real* dw = step.filter_tangents + (block * step.pairs + edge.pair) * features;
      for (std::int64_t h = 0; h < heads; ++h) {
        const std::int64_t begin = h * width, end = begin + width;
        ChannelSum<Real> score;
        for_channels<Real>(begin, end, [&](std::int64_t e, auto lanes) {
          const auto a = lanes.get(q + e), b = lanes.get(k + e);
          auto change = a * b * lanes.get(dw + e);
          if (moves) change += (lanes.get(dq + e) * b + a * lanes.get(dk + e)) * lanes.get(w + e);
          score.add(change);
        });
        if (block) {
          step.coordinate_score_tangents[at + h] = score.total();
          continue;
        }
        const Real s = step.scores[at + h], factor = step.factor[edge.pair];
        const Real alpha = s * factor, change = score.total() * factor + s * step.factor_tangents[edge.pair];
        step.alpha_tangents[at + h] = change;
        const Real *v = from.v(edge.b), *dv = moves ? along.v(edge.b) : v;
        Real* to = step.sum_tangents + edge.c * features;
        for_channels<Real>(begin, end, [&](std::int64_t e, auto lanes) {
          auto part = change * lanes.get(v + e);
          if (moves) part += alpha * lanes.get(dv + e);
          lanes.add(to + e, part);
        });
      }
    }
  });
}

template <class Real>
void sums_gradient(const EdgeSumStep<Real>& step) {
  const std::int64_t features = step.features;
  const bool moves = step.projection_tangents != nullptr;
  const Projections<const Real> from{step.projections, step.atoms, features}, along{step.projection_tangents, step.atoms, features};
  const Projections<Real> to{step.projection_gradient, step.atoms, features};
  for_edges<Real>(step, [&](const Edge& edge) {
    const Real factor = step.factor[edge.pair];
    for (int block = 0; block < 2; ++block) {
      const std::int64_t heads = heads_of(step, block), width = features / heads, at = place(step, edge, block);
      const Real *q = from.q(block, edge.c), *k = from.k(block, edge.b);
      const Real *dq = moves ? along.q(block, edge.c) : q, *dk = moves ? along.k(block, edge.b) : k;
      const Real* w = step.filters + (block * step.pairs + edge.pair) * features;
      const Real* dw = step.filter_tangents + (block * step.pairs + edge.pair) * features;
      Real* by_w = step.filter_gradient + (block * step.pairs + edge.pair) * features;
      Real *by_q = to.q(block, edge.c), *by_k = to.k(block, edge.b);
      for (std::int64_t h = 0; h < heads; ++h) {
        const std::int64_t begin = h * width, end = begin + width;
        Real m, g;  // dL/d(score) and dE/d(score)
        if (block) {
          m = step.coordinate_gradient[at + h];
          g = step.by_coordinate_scores[at + h];
        } else {
          const Real *v = from.v(edge.b), *dv = moves ? along.v(edge.b) : v;
          const Real *by_sum = step.by_sums + edge.c * features, *gradient = step.gradient + edge.c * features;
          const Real alpha = step.scores[at + h] * factor, change = step.alpha_tangents[at + h];
          Real* by_v = to.v(edge.b);
          ChannelSum<Real> by_alpha;
          for_channels<Real>(begin, end, [&](std::int64_t e, auto lanes) {
            const auto a = lanes.get(gradient + e), b = lanes.get(by_sum + e);
            auto part = a * lanes.get(v + e);
            if (moves) part += b * lanes.get(dv + e);
            by_alpha.add(part);
            lanes.add(by_v + e, alpha * a + change * b);
          });
          m = by_alpha.total() * factor + step.by_alpha[at + h] * step.factor_tangents[edge.pair];
          g = step.by_alpha[at + h] * factor;
        }
        for_channels<Real>(begin, end, [&](std::int64_t e, auto lanes) {
          const auto a = lanes.get(q + e), b = lanes.get(k + e), gw = g * lanes.get(w + e);
          const auto weight = m * lanes.get(w + e) + g * lanes.get(dw + e);
          auto part = m * a * b, by_a = weight * b, by_b = weight * a;
          if (moves) {
            const auto da = lanes.get(dq + e), db = lanes.get(dk + e);
            part += g * (da * b + a * db);
            by_a += gw * db;
            by_b += gw * da;
          }
          if (edge.direction)
            lanes.add(by_w + e, part);
          else
            lanes.put(by_w + e, part);
          lanes.add(by_q + e, by_a);
          lanes.add(by_k + e, by_b);
        });
      }
    }
  });
}

}  // namespace SO3MD_CPU_NAMESPACE::training
