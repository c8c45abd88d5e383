#include "source/control_plane/etcd_values.h"

#include <zlib.h>

#include <algorithm>

#include "source/base/status.h"

namespace gatehouse::control {
namespace {

constexpr char kPlain = '0';
constexpr char kCompressed = 'z';
constexpr size_t kSmall = 128;  // not worth it
constexpr size_t kMaxPlain = size_t{256} << 20;
constexpr size_t kFirstGuess = 8;  // times smaller

}  // namespace

std::string Pack(std::string_view plain) {
  if (plain.size() > kSmall) {
    uLongf size = compressBound(plain.size());
    std::string packed(size + 1, kCompressed);
    const int result =
        compress2(reinterpret_cast<Bytef*>(packed.data() + 1), &size,
                  reinterpret_cast<const Bytef*>(plain.data()), plain.size(), Z_BEST_SPEED);
    packed.resize(size + 1);
    if (result == Z_OK && packed.size() < plain.size()) return packed;
  }
  return kPlain + std::string(plain);
}

absl::StatusOr<std::string> Unpack(std::string_view packed) {
  if (packed.empty()) return Unavailable("a value in etcd is empty");
  const std::string_view bytes = packed.substr(1);
  if (packed.front() == kPlain) return std::string(bytes);
  if (packed.front() != kCompressed) return Unavailable("a value in etcd is of a newer version");
  std::string plain;
  for (size_t room = bytes.size() * kFirstGuess + kSmall; room <= kMaxPlain; room *= 2) {
    plain.resize(room);
    uLongf size = room;
    const int result = uncompress(reinterpret_cast<Bytef*>(plain.data()), &size,
                                  reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
    if (result == Z_OK) {
      plain.resize(size);
      return plain;
    }
    if (result != Z_BUF_ERROR) break;
  }
  return Unavailable("a value in etcd is damaged");
}

}  // namespace gatehouse::control
