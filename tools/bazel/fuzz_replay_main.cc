// main() of a fuzz target in a normal build.
//
// Runs LLVMFuzzerTestOneInput over every seed file named on the command line, then over inputs
// mutated from those seeds. The random numbers start from a constant, so a failure comes back on
// the next run. The input that was being run when the process died is printed in hex. With
// --config=fuzz libFuzzer takes this file's place.
//
//   x_fuzz [--mutations=4000] [FILE...]

#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr size_t kMaxInputSize = 4096;

// Seen by the signal handler.
const char* current_data = nullptr;
volatile size_t current_size = 0;

void PrintInputAndDie(int signal_number) {
  constexpr char kDigits[] = "0123456789abcdef";
  constexpr std::string_view kTitle = "fuzz input that failed, in hex: ";
  (void)!write(STDERR_FILENO, kTitle.data(), kTitle.size());
  for (size_t i = 0; i < current_size; ++i) {
    const auto byte = static_cast<unsigned char>(current_data[i]);
    const char hex[2] = {kDigits[byte >> 4], kDigits[byte & 15]};
    (void)!write(STDERR_FILENO, hex, sizeof hex);
  }
  (void)!write(STDERR_FILENO, "\n", 1);
  std::signal(signal_number, SIG_DFL);
  std::raise(signal_number);
}

// splitmix64: the same numbers on every platform.
class Random {
 public:
  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  size_t Below(size_t limit) { return limit == 0 ? 0 : Next() % limit; }

 private:
  uint64_t state_ = 20240229;
};

// Bytes that parsers branch on.
constexpr std::string_view kTokens[] = {"\r\n",    "\n",    "\r\n\r\n",
                                        ":",       ": ",    " ",
                                        "\t",      "/",     "//",
                                        "..",      "%2f",   "%00",
                                        "%",       "?",     "#",
                                        ",",       ";",     "=",
                                        "\"",      "\\",    "{",
                                        "}",       "[",     "]",
                                        "-1",      "0",     "18446744073709551616",
                                        "\xff",    "\x80",  "\xc0\xaf",
                                        "chunked", "close", "HTTP/1.1",
                                        "*",       "null",  "1e999"};

std::string Piece(Random& random, const std::string& from) {
  if (from.empty()) return {};
  const size_t start = random.Below(from.size());
  return from.substr(start, 1 + random.Below(32));
}

void MutateOnce(Random& random, const std::vector<std::string>& seeds, std::string& input) {
  const size_t at = random.Below(input.size() + 1);
  switch (random.Below(8)) {
    case 0:
      if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << random.Below(8)));
      return;
    case 1:
      if (at < input.size()) input[at] = static_cast<char>(random.Next());
      return;
    case 2:
      input.insert(at, 1, static_cast<char>(random.Next()));
      return;
    case 3:
      input.erase(at, 1 + random.Below(8));
      return;
    case 4:
      input.insert(at, Piece(random, input));
      return;
    case 5:
      input.insert(at, Piece(random, seeds[random.Below(seeds.size())]));
      return;
    case 6:
      input.insert(at, kTokens[random.Below(std::size(kTokens))]);
      return;
    default:
      input.resize(at);
      return;
  }
}

void RunOne(const std::string& input) {
  // A block of exactly this size, so that AddressSanitizer sees a read past the end.
  auto* copy = static_cast<char*>(std::malloc(input.size() + (input.empty() ? 1 : 0)));
  input.copy(copy, input.size());
  current_data = copy;
  current_size = input.size();
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(copy), input.size());
  current_size = 0;
  std::free(copy);
}

}  // namespace

int main(int argc, char** argv) {
  for (const int signal_number : {SIGABRT, SIGSEGV, SIGILL, SIGFPE, SIGBUS}) {
    std::signal(signal_number, PrintInputAndDie);
  }
  size_t mutations = 4000;
  std::vector<std::string> seeds;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    constexpr std::string_view kMutations = "--mutations=";
    if (argument.starts_with(kMutations)) {
      mutations = std::strtoul(argv[i] + kMutations.size(), nullptr, 10);
      continue;
    }
    std::ifstream file(argv[i], std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "cannot read %s\n", argv[i]);
      return 1;
    }
    seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  const size_t seed_count = seeds.size();
  for (const std::string& seed : seeds) RunOne(seed);
  seeds.emplace_back();  // the empty input is always a seed

  RunOne(seeds.back());
  Random random;
  for (size_t i = 0; i < mutations; ++i) {
    std::string input = seeds[random.Below(seeds.size())];
    for (size_t n = 1 + random.Below(6); n > 0; --n) MutateOnce(random, seeds, input);
    if (input.size() > kMaxInputSize) input.resize(kMaxInputSize);
    RunOne(input);
  }
  std::printf("%zu seeds and %zu mutated inputs ran\n", seed_count, mutations);
  return 0;
}
