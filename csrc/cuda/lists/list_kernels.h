// The kernels of the search for neighbours. Each function starts one; pointers are of the device.
#pragma once

#include "cuda/lists/site_kernels.h"

namespace so3md::cuda {

/// Marks of a site that is not of an owned point: bits.
inline constexpr int kInAnyList = 1, kInShortList = 2;

/// What a search learns for processes that share points; null members: this process is alone.
struct SharedSearch {
  const unsigned char* roles;  ///< by point
  const int* point;            ///< by site
  int* marks;                  ///< of the sites after the owned ones
  int* near_remote;            ///< of each row: whether a point of another process is in its short list
};

/// Neighbours within the squared radii: their numbers for each row, or with offsets, which sites they are. `most`: of the short list.
struct ListTask {
  int n_owned;
  CellView cell;
  BinGridView grid;
  const std::int64_t* first;  ///< of the bins
  const int* sites;           ///< by bin
  const double* sorted;       ///< their positions
  const double* positions;
  double short_squared, long_squared;  ///< A^2; the second 0: no long list
  int *short_counts, *long_counts, *most;
  const std::int64_t *short_offsets, *long_offsets;
  int *short_sites, *long_sites;
  SharedSearch shared;  ///< used while neighbours are counted
};
void search_neighbours(const ListTask& task, const Stream& stream);

/// kept[k] = 1 where a site is in any list. `all`: all are.
void find_kept(int n, const int* marks, bool all, int* kept, const Stream& stream);

/// New numbers of sites: rows with neighbours of other processes after the others, and sites that are in no list left out.
struct RenumberTask {
  int n_owned, n_interior, n_sites;
  const int *near_remote, *marks, *kept;
  const std::int64_t *boundary, *others;  ///< rows and sites of which either is true before each
  SiteArrays from, to;
  const int *short_counts, *long_counts;
  int *new_short_counts, *new_long_counts;
  int* in_short_list;  ///< of each new site after the owned ones
  int* site_of;        ///< new number of an old one; -1: left out
};
void renumber_sites(const RenumberTask& task, const Stream& stream);

/// sites[k] = site_of[sites[k]].
void relabel(int n, const int* site_of, int* sites, const Stream& stream);

}  // namespace so3md::cuda
