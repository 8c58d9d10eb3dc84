#include "cuda/event_timer.h"

namespace so3md::cuda {

void EventTimer::start(bool timed) {
  timed_ = timed;
  used_ = 0;
  stages_.clear();
  if (timed_) record();
}

void EventTimer::lap(const char* stage) {
  if (!timed_) return;
  record();
  stages_.push_back(stage);
}

void EventTimer::add_to(Stopwatch& watch) {
  for (std::size_t k = 0; k < stages_.size(); ++k) watch.add(stages_[k], events_[k + 1].seconds_since(events_[k]));
}

void EventTimer::record() {
  if (used_ == events_.size()) events_.emplace_back();
  events_[used_++].record(stream_);
}

}  // namespace so3md::cuda
