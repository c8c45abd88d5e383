#include "source/base/intrusive_list.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace gatehouse {
namespace {

struct Item : ListNode<Item>, ListNode<Item, class OtherTag> {
  explicit Item(int n = 0) : number(n) {}
  int number;
  using First = ListNode<Item>;
  using Other = ListNode<Item, class OtherTag>;
};
using List = IntrusiveList<Item>;
using OtherList = IntrusiveList<Item, class OtherTag>;

std::vector<int> NumbersOf(List& list) {
  std::vector<int> numbers;
  for (Item* item = list.Front(); item != nullptr; item = list.Next(*item)) {
    numbers.push_back(item->number);
  }
  return numbers;
}

TEST(IntrusiveListTest, KeepsOrderAtBothEnds) {
  Item a(1), b(2), c(3);
  List list;
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(list.Front(), nullptr);
  EXPECT_EQ(list.PopBack(), nullptr);
  list.PushBack(b);
  list.PushFront(a);
  list.PushBack(c);
  EXPECT_EQ(NumbersOf(list), (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(list.Back(), &c);
  EXPECT_EQ(list.PopFront(), &a);
  EXPECT_EQ(list.PopBack(), &c);
  EXPECT_FALSE(a.First::linked());
  EXPECT_TRUE(b.First::linked());
}

TEST(IntrusiveListTest, AnElementThatIsDestroyedTakesItselfOut) {
  List list;
  Item a(1), c(3);
  list.PushBack(a);
  {
    Item b(2);
    list.PushBack(b);
    list.PushBack(c);
  }
  EXPECT_EQ(NumbersOf(list), (std::vector<int>{1, 3}));
}

TEST(IntrusiveListTest, AListThatIsDestroyedLetsItsElementsGo) {
  Item a(1);
  {
    List list;
    list.PushBack(a);
  }
  EXPECT_FALSE(a.First::linked());
  List other;
  other.PushBack(a);
  EXPECT_EQ(NumbersOf(other), (std::vector<int>{1}));
}

TEST(IntrusiveListTest, TagsTellListsApart) {
  Item a(1);
  List list;
  OtherList other;
  list.PushBack(a);
  other.PushBack(a);
  a.First::Unlink();
  a.First::Unlink();  // again is harmless
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(other.Front(), &a);
}

TEST(IntrusiveListTest, RandomOperationsAgreeWithADeque) {
  std::mt19937 random(7);
  std::vector<std::unique_ptr<Item>> items;
  for (int i = 0; i < 30; ++i) items.push_back(std::make_unique<Item>(i));
  List lists[2];
  std::deque<int> models[2];
  for (int step = 0; step < 20000; ++step) {
    const size_t which = random() % 2;
    std::unique_ptr<Item>& item = items[random() % items.size()];
    switch (random() % 6) {
      case 0:
        if (!item->First::linked()) {
          lists[which].PushBack(*item);
          models[which].push_back(item->number);
        }
        break;
      case 1:
        if (!item->First::linked()) {
          lists[which].PushFront(*item);
          models[which].push_front(item->number);
        }
        break;
      case 2:
        if (Item* front = lists[which].PopFront()) {
          ASSERT_EQ(front->number, models[which].front());
          models[which].pop_front();
        }
        break;
      case 3: {
        const int number = item->number;
        if (random() % 2 == 0) {
          item->First::Unlink();
        } else {
          item = std::make_unique<Item>(number);
        }
        for (std::deque<int>& model : models) std::erase(model, number);
        break;
      }
      case 4:
        if (random() % 8 == 0) {
          lists[which].TakeAll(lists[1 - which]);
          for (int number : models[1 - which]) models[which].push_back(number);
          models[1 - which].clear();
        }
        break;
      default:
        if (Item* back = lists[which].PopBack()) {
          ASSERT_EQ(back->number, models[which].back());
          models[which].pop_back();
        }
    }
    for (size_t i = 0; i < 2; ++i) {
      ASSERT_EQ(NumbersOf(lists[i]), std::vector<int>(models[i].begin(), models[i].end()));
      ASSERT_EQ(lists[i].empty(), models[i].empty());
    }
  }
}

}  // namespace
}  // namespace gatehouse
