#include "backends/cuda/staging_memory.h"

#include <algorithm>
#include <mutex>
#include <vector>

#include "backends/cuda/device_memory.h"
#include "base/checked_math.h"

namespace squint::cuda {
namespace {

// The driver copies less than that aside by itself, and does not wait either.
constexpr int64_t kLeastBytes = int64_t{64} << 10;
constexpr int64_t kMostBytes = int64_t{64} << 20;  // of a piece
constexpr int64_t kMostKept = int64_t{192} << 20;  // of all pieces

struct Piece {
  void* data = nullptr;
  int64_t bytes = 0;
  cudaEvent_t read = nullptr;  // the card has what was written there last
};

void release(const Piece& piece) {
  cudaEventDestroy(piece.read);  // after it has happened
  cudaFreeHost(piece.data);      // waits for the card
}

}  // namespace

struct StagingMemory::Pool {
  explicit Pool(std::shared_ptr<CUstream_st> used) : stream(std::move(used)) {}
  ~Pool() {
    for (const Piece& piece : free) release(piece);
  }

  // The smallest that is large enough; no bytes where there is none.
  Piece take(int64_t bytes) {
    const std::scoped_lock lock(mutex);
    auto best = free.end();
    for (auto at = free.begin(); at != free.end(); ++at) {
      if (at->bytes >= bytes && (best == free.end() || at->bytes < best->bytes)) best = at;
    }
    if (best == free.end()) return {};
    const Piece piece = *best;
    free.erase(best);
    return piece;
  }

  // A destructor's part: whoever uses the stream next will report what went wrong on it.
  void give(const Piece& piece) {
    cudaEventRecord(piece.read, stream.get());
    const std::scoped_lock lock(mutex);
    free.push_back(piece);
  }

  // Room for `bytes` more below the bound, the largest pieces going first.
  bool make_room(int64_t bytes) {
    const std::scoped_lock lock(mutex);
    while (total + bytes > kMostKept && !free.empty()) {
      const auto largest = std::ranges::max_element(free, {}, &Piece::bytes);
      release(*largest);
      total -= largest->bytes;
      free.erase(largest);
    }
    if (total + bytes > kMostKept) return false;
    total += bytes;
    return true;
  }

  std::shared_ptr<CUstream_st> stream;
  std::mutex mutex;
  std::vector<Piece> free;
  int64_t total = 0;  // bytes, those in use too
};

class StagingMemory::Part final : public Storage {
 public:
  Part(std::shared_ptr<Pool> pool, const Piece& piece, int64_t bytes)
      : Storage(piece.data, bytes, {DeviceKind::cpu, 0}), pool_(std::move(pool)), piece_(piece) {}
  ~Part() override { pool_->give(piece_); }

 private:
  std::shared_ptr<Pool> pool_;
  Piece piece_;
};

StagingMemory::StagingMemory(std::shared_ptr<CUstream_st> stream)
    : pool_(std::make_shared<Pool>(std::move(stream))) {}

std::shared_ptr<Storage> StagingMemory::allocate(int64_t bytes) {
  if (bytes < kLeastBytes || bytes > kMostBytes) return allocate_host(bytes);
  Piece piece = pool_->take(bytes);
  if (piece.data != nullptr) {
    check(cudaEventSynchronize(piece.read), "waiting for a copy");
    return std::make_shared<Part>(pool_, piece, bytes);
  }
  piece.bytes = round_up(bytes, int64_t{1} << 20);
  if (!pool_->make_room(piece.bytes)) return allocate_host(bytes);
  check(cudaEventCreateWithFlags(&piece.read, cudaEventDisableTiming), "creating an event");
  check(cudaHostAlloc(&piece.data, static_cast<size_t>(piece.bytes), cudaHostAllocDefault),
        "pinning memory");
  return std::make_shared<Part>(pool_, piece, bytes);
}

}  // namespace squint::cuda
