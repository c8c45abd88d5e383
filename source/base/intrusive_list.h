// A doubly linked list whose links live in the elements: no allocation, O(1) unlink, and an element
// that is destroyed takes itself out. Owner of the elements: not the list. Thread: one.
//
//   struct Waiter : ListNode<Waiter> { ... };
//   IntrusiveList<Waiter> waiting;
//   waiting.PushBack(waiter);
//   while (Waiter* next = waiting.PopFront()) ...
#pragma once

#include <cstddef>

#include "source/base/check.h"

namespace gatehouse {

template <typename T, typename Tag>
class IntrusiveList;

// Tag tells several lists that an element may be on at the same time apart.
template <typename T, typename Tag = void>
class ListNode {
 public:
  ListNode() = default;
  ~ListNode() { Unlink(); }
  ListNode(const ListNode&) = delete;
  ListNode& operator=(const ListNode&) = delete;

  [[nodiscard]] bool linked() const { return next_ != nullptr; }
  void Unlink() {
    if (next_ == nullptr) return;
    next_->prev_ = prev_;
    prev_->next_ = next_;
    next_ = prev_ = nullptr;
  }

 private:
  friend class IntrusiveList<T, Tag>;
  ListNode* next_ = nullptr;
  ListNode* prev_ = nullptr;
};

template <typename T, typename Tag = void>
class IntrusiveList {
 public:
  using Node = ListNode<T, Tag>;

  IntrusiveList() { head_.next_ = head_.prev_ = &head_; }
  ~IntrusiveList() {
    while (PopFront() != nullptr) {
    }
    head_.next_ = head_.prev_ = nullptr;
  }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;

  [[nodiscard]] bool empty() const { return head_.next_ == &head_; }
  void PushBack(T& element) { InsertBefore(&head_, Link(element)); }
  void PushFront(T& element) { InsertBefore(head_.next_, Link(element)); }
  [[nodiscard]] T* Front() { return empty() ? nullptr : Element(head_.next_); }
  [[nodiscard]] T* Back() { return empty() ? nullptr : Element(head_.prev_); }
  T* PopFront() {
    T* element = Front();
    if (element != nullptr) Link(*element)->Unlink();
    return element;
  }
  T* PopBack() {
    T* element = Back();
    if (element != nullptr) Link(*element)->Unlink();
    return element;
  }
  // The element after this one, or null. Take it before the element may be unlinked.
  [[nodiscard]] T* Next(T& element) {
    Node* next = Link(element)->next_;
    return next == &head_ ? nullptr : Element(next);
  }
  // Moves all of `other` to the end of this list.
  void TakeAll(IntrusiveList& other) {
    if (other.empty()) return;
    Node* first = other.head_.next_;
    Node* last = other.head_.prev_;
    other.head_.next_ = other.head_.prev_ = &other.head_;
    first->prev_ = head_.prev_;
    head_.prev_->next_ = first;
    last->next_ = &head_;
    head_.prev_ = last;
  }

 private:
  static Node* Link(T& element) { return static_cast<Node*>(&element); }
  static T* Element(Node* node) { return static_cast<T*>(node); }
  static void InsertBefore(Node* at, Node* node) {
    DCHECK(!node->linked());
    node->prev_ = at->prev_;
    node->next_ = at;
    at->prev_->next_ = node;
    at->prev_ = node;
  }

  Node head_;
};

}  // namespace gatehouse
