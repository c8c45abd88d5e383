#include "source/filters/filter_context.h"

#include "source/base/check.h"
#include "source/filters/chain.h"

namespace gatehouse::filters {

void FilterContext::StartCallout(const upstream::CalloutRequest& request, void* continuation,
                                 Resume resume) {
  CHECK(run_ != nullptr);
  run_->Await(request, continuation, resume);
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
