#include "source/http/client_cert_header.h"

#include <algorithm>
#include <string>
#include <string_view>

namespace gatehouse::http {
namespace {

using Forward = ClientCertPolicy::Forward;

// What an unquoted value may not hold.
bool BreaksSyntax(char c) {
  return c == ',' || c == ';' || c == '=' || c == '"' || c == '\\' || c == ' ';
}

bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

bool IsUnreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

// Writes one element, or only counts its bytes.
class Element {
 public:
  explicit Element(char* out) : out_(out) {}

  void Put(std::string_view text) {
    for (char c : text) Put(c);
  }
  void Put(char c) {
    if (out_ != nullptr) out_[size_] = c;
    ++size_;
  }
  // `key` with a value that needs quotes only at times.
  void PutPair(std::string_view key, std::string_view value, bool quoted) {
    for (char c : value) quoted = quoted || BreaksSyntax(c);
    Put(key);
    if (quoted) Put('"');
    for (char c : value) {
      if (c == '"' || c == '\\') Put('\\');
      // No field value can hold it, and nobody's name has it.
      Put(IsControl(c) ? '?' : c);
    }
    if (quoted) Put('"');
  }
  void PutEncoded(std::string_view text) {
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    for (char c : text) {
      if (IsUnreserved(c)) {
        Put(c);
        continue;
      }
      Put('%');
      Put(kDigits[static_cast<unsigned char>(c) >> 4]);
      Put(kDigits[static_cast<unsigned char>(c) & 15]);
    }
  }
  [[nodiscard]] size_t size() const { return size_; }

 private:
  char* out_;
  size_t size_ = 0;
};

size_t WriteElement(const ClientCertPolicy& policy, const net::TlsFacts& tls, char* out) {
  Element element(out);
  element.PutPair("Hash=", tls.fingerprint, false);
  if (policy.subject && !tls.subject.empty()) element.PutPair(";Subject=", tls.subject, true);
  if (policy.uri) {
    for (const std::string& uri : tls.uris) element.PutPair(";URI=", uri, false);
  }
  if (policy.dns) {
    for (const std::string& name : tls.dns_names) element.PutPair(";DNS=", name, false);
  }
  if (policy.cert && !tls.pem.empty()) {
    element.Put(";Cert=\"");
    element.PutEncoded(tls.pem);
    element.Put('"');
  }
  return element.size();
}

bool QuotesArePaired(std::string_view value) {
  bool quoted = false;
  for (size_t i = 0; i < value.size(); ++i) {
    if (value[i] == '"') quoted = !quoted;
    if (value[i] == '\\' && quoted) ++i;
  }
  return !quoted;
}

}  // namespace

void ForwardClientCert(const ClientCertPolicy& policy, const net::TlsFacts* tls,
                       HeaderMap& headers) {
  constexpr Name kField = Name::kXForwardedClientCert;
  if (policy.forward == Forward::kAlwaysForwardOnly) return;
  const bool has_certificate = tls != nullptr && tls->has_certificate;
  if (policy.forward == Forward::kSanitize || !has_certificate) {
    headers.Remove(kField);
    return;
  }
  if (policy.forward == Forward::kForwardOnly) return;
  // All that came, then the client's own.
  size_t kept = 0;
  bool append = policy.forward == Forward::kAppendForward;
  headers.ForEach(kField, [&kept, &append](std::string_view value) {
    append = append && QuotesArePaired(value);
    kept += value.size() + 1;
  });
  if (!append) kept = 0;
  const size_t size = kept + WriteElement(policy, *tls, nullptr);
  char* text = headers.arena().AllocateChars(size);
  if (kept > 0) {
    char* at = text;
    headers.ForEach(kField, [&at](std::string_view value) {
      at = std::copy(value.begin(), value.end(), at);
      *at++ = ',';
    });
  }
  WriteElement(policy, *tls, text + kept);
  headers.SetMade(kField, {text, size});
}

}  // namespace gatehouse::http
