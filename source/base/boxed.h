// Boxed<T>: an optional T that lives elsewhere: a pointer's room where there mostly is none.
//
// Owner: whoever holds it. Thread: as a T. For objects of which there are many, with parts that few
// of them have.
//
//   Boxed<Redirect> redirect;
//   redirect = Redirect("/new");
//   if (redirect.has_value()) redirect->Location();
#pragma once

#include <memory>
#include <utility>

#include "source/base/check.h"

namespace gatehouse {

template <typename T>
class Boxed {
 public:
  Boxed() = default;
  Boxed(T value) : value_(std::make_unique<T>(std::move(value))) {}  // NOLINT: as optional's
  Boxed(Boxed&&) noexcept = default;
  Boxed& operator=(Boxed&&) noexcept = default;

  T& emplace() {
    value_ = std::make_unique<T>();
    return *value_;
  }
  [[nodiscard]] bool has_value() const { return value_ != nullptr; }
  explicit operator bool() const { return has_value(); }

  [[nodiscard]] T& operator*() {
    DCHECK(has_value());
    return *value_;
  }
  [[nodiscard]] const T& operator*() const {
    DCHECK(has_value());
    return *value_;
  }
  [[nodiscard]] T* operator->() { return &**this; }
  [[nodiscard]] const T* operator->() const { return &**this; }

 private:
  std::unique_ptr<T> value_;
};

}  // namespace gatehouse
