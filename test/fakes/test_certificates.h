// Certificates for tests of what lies above net: TestCa and what it issues.
//
//   const net::TestCa ca("Test CA");
//   builder.files["/config/site.pem"] = ca.Issue({.names = "DNS:a.example"}).pem;
#pragma once

#include "test/net/tls_certificates.h"  // IWYU pragma: export
