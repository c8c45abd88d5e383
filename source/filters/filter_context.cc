#include "source/filters/filter_context.h"

#include "source/base/check.h"
#include "source/filters/chain.h"

namespace gatehouse::filters {

Waker FilterContext::BeginWait(void* operation, EndOperation end, void* continuation,
                               Resume resume) {
  CHECK(run_ != nullptr);
  return run_->BeginWait(operation, end, continuation, resume);
}

void FilterContext::Reset() {
  DCHECK(run_ == nullptr);
  facts_ = ExchangeFacts();
  notes_ = nullptr;
  response_body_ = {};
  flags_ = {};
  leave_ = false;
}

}  // namespace gatehouse::filters
