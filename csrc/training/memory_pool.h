// Memory that steps of a training take and give back: fresh memory costs more than what is done with it.
#pragma once

#include <cstddef>
#include <mutex>
#include <new>
#include <vector>

namespace so3md::training {

class MemoryPool {
 public:
  /// A piece that starts at a cache line and goes back to the pool. What it holds at first is not defined.
  class Piece {
   public:
    Piece(MemoryPool& pool, std::size_t size) : pool_(pool), block_(pool.take(size)) {}
    ~Piece() { pool_.give_back(block_); }
    Piece(const Piece&) = delete;
    Piece& operator=(const Piece&) = delete;
    char* data() const { return block_.data; }

   private:
    friend class MemoryPool;
    struct Block {
      char* data = nullptr;
      std::size_t size = 0;
    };
    MemoryPool& pool_;
    Block block_;
  };

  MemoryPool() = default;
  ~MemoryPool() {
    for (const Piece::Block& block : free_) release(block);
  }
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

 private:
  static void release(const Piece::Block& block) { ::operator delete(block.data, std::align_val_t{64}); }

  /// The smallest free block that is large enough. If there is none, the largest free one is replaced.
  Piece::Block take(std::size_t size) {
    const std::lock_guard lock(mutex_);
    auto best = free_.end();
    for (auto block = free_.begin(); block != free_.end(); ++block) {
      const bool better =
          best == free_.end() || (best->size >= size ? block->size >= size && block->size < best->size : block->size > best->size);
      if (better) best = block;
    }
    Piece::Block result;
    if (best != free_.end()) {
      result = *best;
      free_.erase(best);
    }
    if (result.size >= size && result.data != nullptr) return result;
    if (result.data != nullptr) release(result);
    return {static_cast<char*>(::operator new(size, std::align_val_t{64})), size};
  }

  void give_back(const Piece::Block& block) {
    const std::lock_guard lock(mutex_);
    free_.push_back(block);
  }

  std::mutex mutex_;
  std::vector<Piece::Block> free_;
};

}  // namespace so3md::training
