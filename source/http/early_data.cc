#include "source/http/early_data.h"

namespace gatehouse::http {

bool IsReplaySafe(const RequestHead& request) {
  return IsSafe(request.method) && !request.has_body() && !request.upgrade;
}

bool AdmitEarlyData(RequestHead& request, bool early) {
  if (!early) return true;
  if (!IsReplaySafe(request)) return false;
  request.headers.SetLiteral(Name::kEarlyData, "1");
  return true;
}

}  // namespace gatehouse::http
