// Fields that codecs write from the model (RequestHead, ResponseHead), never from the map of
// fields: the hop-by-hop ones, and what frames and addresses a message.
#pragma once

#include "source/http/names.h"

namespace gatehouse::http {

inline constexpr NameSet kNotFromRequest({
    Name::kConnection,
    Name::kTransferEncoding,
    Name::kUpgrade,
    Name::kKeepAlive,
    Name::kProxyConnection,
    Name::kTe,
    Name::kHttp2Settings,
    Name::kProxyAuthenticate,
    Name::kProxyAuthorization,
    Name::kHost,
    Name::kContentLength,
    Name::kExpect,
});

inline constexpr NameSet kNotFromResponse({
    Name::kConnection,
    Name::kTransferEncoding,
    Name::kUpgrade,
    Name::kKeepAlive,
    Name::kProxyConnection,
    Name::kTe,
    Name::kHttp2Settings,
    Name::kProxyAuthenticate,
    Name::kProxyAuthorization,
    Name::kContentLength,
});

}  // namespace gatehouse::http
