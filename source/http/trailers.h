// Which fields may stand behind a body.
#pragma once

#include "source/http/header_map.h"

namespace gatehouse::http {

// Removes fields that change what was decided from the head (RFC 9110, section 6.5.1): framing,
// routing, authentication, content, caching, who we say it is.
void DropForbiddenTrailers(HeaderMap& trailers);

}  // namespace gatehouse::http
