// Time of the stages of an evaluation, as the device takes it.
#pragma once

#include <deque>
#include <utility>
#include <vector>

#include "cuda/seams.h"

namespace so3md::cuda {

class EventTimer final : public StageTimer {
 public:
  explicit EventTimer(const Stream& stream) : stream_(stream) {}

  /// `timed`: whether to take the time of this evaluation at all, which costs small systems a few microseconds for each stage.
  void start(bool timed);
  void lap(const char* stage) override;

  /// Once the stream's work is done.
  void add_to(Stopwatch& watch);

 private:
  void record();

  const Stream& stream_;
  bool timed_ = false;
  std::deque<Event> events_;
  std::size_t used_ = 0;
  std::vector<const char*> stages_;
};

}  // namespace so3md::cuda
