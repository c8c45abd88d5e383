// Chain and its slabs, against a std::string that says what must be in it.
#include "source/base/chain.h"

#include <array>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace gatehouse {
namespace {

std::string TextOf(const Chain& chain) {
  std::string text;
  for (size_t i = 0; i < chain.slices(); ++i) text += chain[i].view();
  return text;
}

std::string RandomText(std::mt19937& random, size_t size) {
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>('a' + random() % 26);
  return text;
}

// Sizes that are mostly small and now and then around a slab.
size_t RandomSize(std::mt19937& random) {
  switch (random() % 8) {
    case 0:
      return SlabPool::kDataBytes - 3 + random() % 6;
    case 1:
      return 1020 + random() % 10;
    case 2:
      return random() % 40000;
    default:
      return random() % 64;
  }
}

// A chain and what must be in it.
struct Pair {
  Chain chain;
  std::string text;

  void Check() const {
    ASSERT_EQ(chain.bytes(), text.size());
    ASSERT_EQ(chain.empty(), text.empty());
    ASSERT_EQ(TextOf(chain), text);
  }
};

class RandomOperations {
 public:
  explicit RandomOperations(uint32_t seed) : random_(seed) {}

  void Run(int steps) {
    for (int i = 0; i < steps; ++i) {
      const int operation = static_cast<int>(random_() % 13);
      SCOPED_TRACE(operation);
      Step(operation, pairs_[random_() % pairs_.size()], pairs_[random_() % pairs_.size()]);
      for (const Pair& pair : pairs_) pair.Check();
      if (::testing::Test::HasFatalFailure()) return;
    }
    for (Pair& pair : pairs_) pair.chain.Clear();
    EXPECT_EQ(pool_.in_use_bytes(), 0u);
  }

 private:
  void Step(int operation, Pair& a, Pair& b) {
    switch (operation) {
      case 0:
      case 1:
        return Copy(a);
      case 2:
        return ReserveAndCommit(a);
      case 3: {
        const size_t count = Below(a.text.size());
        a.chain.RemovePrefix(count);
        a.text.erase(0, count);
        return;
      }
      case 4:
      case 5:
        return Move(a, b);
      case 6:
        return PullUp(a);
      case 7:
        return Share(a, b);
      case 8:
        return AppendAll(a, b);
      case 9:
        return TakeFront(a);
      case 10:
        return MoveWhole(a, b);
      case 11:
        return Unowned(a);
      default:
        return Shrink(a);
    }
  }
  size_t Below(size_t most) { return random_() % (most + 1); }

  void Copy(Pair& a) {
    const std::string text = RandomText(random_, RandomSize(random_));
    a.chain.AppendCopy(text, pool_);
    a.text += text;
  }
  void ReserveAndCommit(Pair& a) {
    const size_t asked = 1 + RandomSize(random_) % SlabPool::kDataBytes;
    const std::string text = RandomText(random_, Below(asked));
    char* out = a.chain.Reserve(asked, pool_);
    std::memcpy(out, text.data(), text.size());
    // What was reserved and not written may be used by whoever comes next.
    std::memset(out + text.size(), '!', asked - text.size());
    a.chain.Commit(text.size());
    a.text += text;
  }
  void Move(Pair& a, Pair& b) {
    if (&a == &b) return;
    const size_t count = Below(a.text.size());
    a.chain.MoveTo(count, b.chain);
    b.text += a.text.substr(0, count);
    a.text.erase(0, count);
  }
  void PullUp(Pair& a) {
    if (a.text.empty()) return;
    const size_t count = 1 + Below(a.text.size() - 1);
    const size_t room = random_() % 3 == 0 ? Below(3000) : 0;
    a.chain.PullUp(count, room, pool_);
    EXPECT_GE(a.chain.front().size(), count);
    if (room > 0 && a.chain.slices() == 1) {
      EXPECT_GE(a.chain.TailRoom(), room);
    }
  }
  void Share(Pair& a, Pair& b) {
    if (a.chain.slices() == 0) return;
    const Slice& slice = a.chain[Below(a.chain.slices() - 1)];
    const size_t at = Below(slice.size());
    const size_t count = Below(slice.size() - at);
    const std::string text(slice.view().substr(at, count));
    b.chain.Append(slice.Sub(at, count));
    b.text += text;
  }
  void AppendAll(Pair& a, Pair& b) {
    if (&a == &b) return;
    a.chain.Append(std::move(b.chain), pool_);
    a.text += std::exchange(b.text, {});
  }
  void TakeFront(Pair& a) {
    if (a.chain.slices() == 0) return;
    const Slice slice = a.chain.TakeFront();
    EXPECT_EQ(slice.view(), std::string_view(a.text).substr(0, slice.size()));
    a.text.erase(0, slice.size());
  }
  void MoveWhole(Pair& a, Pair& b) {
    if (&a == &b) return;
    std::swap(a.chain, b.chain);
    std::swap(a.text, b.text);
  }
  void Unowned(Pair& a) {
    static constexpr std::string_view kText = "memory that outlives every use";
    const size_t count = Below(kText.size());
    a.chain.Append(Slice::Unowned(kText.substr(0, count)));
    a.text += kText.substr(0, count);
  }
  void Shrink(Pair& a) {
    if (random_() % 4 == 0) {
      a.chain.Clear();
      a.text.clear();
    }
    a.chain.ShrinkToInline();
  }

  std::mt19937 random_;
  SlabPool pool_;
  std::array<Pair, 3> pairs_;
};

TEST(ChainTest, RandomOperationsAgreeWithAString) {
  for (uint32_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    RandomOperations(seed).Run(150);
    if (HasFatalFailure()) return;
  }
}

TEST(ChainTest, AppendCopyFillsTheLastSlabBeforeItTakesAnother) {
  SlabPool pool;
  Chain chain;
  for (int i = 0; i < 100; ++i) chain.AppendCopy("0123456789", pool);
  EXPECT_EQ(chain.slices(), 1u);
  EXPECT_EQ(pool.in_use_bytes(), SlabPool::kSlabBytes);
  chain.AppendCopy(std::string(SlabPool::kDataBytes, 'x'), pool);
  EXPECT_EQ(chain.slices(), 2u);
}

// Bytes behind the end of a slice belong to whoever wrote there first.
TEST(ChainTest, AViewInTheMiddleOfASlabIsNotExtended) {
  SlabPool pool;
  Chain first;
  first.AppendCopy("head", pool);
  Chain second;
  second.Append(first[0].Sub(0, 4));
  first.AppendCopy("+one", pool);
  second.AppendCopy("+two", pool);
  EXPECT_EQ(TextOf(first), "head+one");
  EXPECT_EQ(TextOf(second), "head+two");
}

TEST(ChainTest, ASmallSliceIsCopiedSoThatItPinsNoSlab) {
  SlabPool pool;
  Chain from;
  from.AppendCopy(std::string(Chain::kCopyBelow, 'x'), pool);
  Chain to;
  to.AppendCopy("y", pool);
  EXPECT_EQ(pool.in_use_bytes(), 2 * SlabPool::kSlabBytes);
  to.Append(std::move(from), pool);
  EXPECT_EQ(to.slices(), 1u);
  EXPECT_EQ(pool.in_use_bytes(), SlabPool::kSlabBytes);
}

// As when a body comes in tiny pieces, each in a read of its own, and is kept for a while.
TEST(ChainTest, SmallSlicesOfManySlabsPinFew) {
  SlabPool pool;
  Chain to;
  for (int i = 0; i < 1000; ++i) {
    Chain read;
    read.AppendCopy("x\r\n", pool);
    Chain piece;
    piece.Append(read[0].Sub(0, 1));
    to.Append(std::move(piece), pool);
  }
  EXPECT_EQ(TextOf(to), std::string(1000, 'x'));
  EXPECT_LE(pool.in_use_bytes(), 2 * SlabPool::kSlabBytes);
}

TEST(ChainTest, NothingStaysPinnedOnceAllIsTaken) {
  SlabPool pool;
  Chain chain;
  chain.AppendCopy("abc", pool);
  (void)chain.Reserve(SlabPool::kDataBytes, pool);
  chain.Commit(0);
  chain.RemovePrefix(3);
  EXPECT_EQ(pool.in_use_bytes(), 0u);

  Chain other;
  chain.AppendCopy("abc", pool);
  (void)chain.Reserve(SlabPool::kDataBytes, pool);
  chain.Commit(0);
  chain.MoveTo(3, other);
  EXPECT_EQ(pool.in_use_bytes(), SlabPool::kSlabBytes);
}

TEST(ChainTest, GatherSkipsEmptySlicesAndStopsAtItsLimit) {
  SlabPool pool;
  Chain chain;
  for (const char* text : {"a", "b", "c", "d", "e", "f"}) chain.Append(Slice::Unowned(text));
  (void)chain.Reserve(10, pool);
  chain.Commit(0);
  iovec pieces[16];
  ASSERT_EQ(chain.Gather(pieces, 16), 6u);
  EXPECT_EQ(std::string_view(static_cast<char*>(pieces[5].iov_base), pieces[5].iov_len), "f");
  EXPECT_EQ(chain.Gather(pieces, 2), 2u);
}

TEST(ChainTest, AHeadLargerThanASlabIsOnePiece) {
  SlabPool pool;
  Chain chain;
  const std::string text(50000, 'h');
  chain.AppendCopy(text, pool);
  chain.AppendCopy("tail", pool);
  chain.PullUp(text.size(), 100, pool);
  EXPECT_EQ(chain.front().substr(0, text.size()), text);
  chain.Clear();
  EXPECT_EQ(pool.in_use_bytes(), 0u);
  // A slab of odd size is not kept.
  EXPECT_LE(pool.free_slabs(), 4u);
}

TEST(SlabPoolTest, CountsWhatIsInUseAgainstItsBudget) {
  SlabPool pool(10 * SlabPool::kSlabBytes);
  std::vector<Slice> slices;
  const auto take = [&] {
    Slab* slab = pool.Get();
    slices.emplace_back(slab, slab->data(), 0);
  };
  for (int i = 0; i < 8; ++i) take();
  EXPECT_FALSE(pool.tight());
  take();
  EXPECT_TRUE(pool.tight());
  take();
  EXPECT_FALSE(pool.exhausted());
  take();
  EXPECT_TRUE(pool.exhausted());
  slices.clear();
  EXPECT_FALSE(pool.tight());
  EXPECT_EQ(pool.in_use_bytes(), 0u);
  EXPECT_EQ(pool.free_slabs(), 11u);
}

TEST(SlabPoolTest, TrimGivesBackWhatWasNotNeeded) {
  SlabPool pool;
  const auto use = [&](size_t count) {
    std::vector<Slice> slices;
    for (size_t i = 0; i < count; ++i) {
      Slab* slab = pool.Get();
      slices.emplace_back(slab, slab->data(), 0);
    }
  };
  use(20);
  pool.TrimUnused();
  EXPECT_EQ(pool.free_slabs(), 20u);  // all of them were in use since the last look
  use(5);
  pool.TrimUnused();
  EXPECT_EQ(pool.free_slabs(), 5u);
  pool.TrimUnused();
  EXPECT_EQ(pool.free_slabs(), 0u);
  pool.TrimUnused();
  EXPECT_EQ(pool.free_slabs(), 0u);
}

TEST(SlabPoolTest, TrimmedByHandInBetween) {
  SlabPool pool;
  const auto use = [&](size_t count) {
    std::vector<Slice> slices;
    for (size_t i = 0; i < count; ++i) {
      Slab* slab = pool.Get();
      slices.emplace_back(slab, slab->data(), 0);
    }
  };
  use(20);
  pool.TrimUnused();
  pool.Trim(3);
  EXPECT_EQ(pool.free_slabs(), 3u);
  pool.TrimUnused();
  EXPECT_EQ(pool.free_slabs(), 0u);
}

TEST(SlabPoolTest, TheFreelistIsBounded) {
  SlabPool pool;
  {
    std::vector<Slice> slices;
    for (int i = 0; i < 400; ++i) {
      Slab* slab = pool.Get();
      slices.emplace_back(slab, slab->data(), 0);
    }
  }
  EXPECT_EQ(pool.free_slabs(), 256u);
  EXPECT_EQ(pool.in_use_bytes(), 0u);
}

TEST(SliceTest, SharesItsSlabUntilTheLastOneGoes) {
  SlabPool pool;
  Chain chain;
  chain.AppendCopy("0123456789", pool);
  Slice middle = chain[0].Sub(3, 4);
  chain.Clear();
  EXPECT_EQ(middle.view(), "3456");
  EXPECT_EQ(pool.in_use_bytes(), SlabPool::kSlabBytes);
  Slice moved = std::move(middle);
  EXPECT_TRUE(middle.empty());  // NOLINT(bugprone-use-after-move): that is what is tested
  moved.RemovePrefix(1);
  moved.RemoveSuffix(1);
  EXPECT_EQ(moved.view(), "45");
  moved = Slice();
  EXPECT_EQ(pool.in_use_bytes(), 0u);
}

}  // namespace
}  // namespace gatehouse
