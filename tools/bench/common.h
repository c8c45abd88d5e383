// What the benchmark's three C programs share: sockets on the loopback, the few bytes of HTTP/1.1
// they must understand, and the table of answers that the origin gives and the generator checks.
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static inline void die(const char* what) {
  fprintf(stderr, "%s: %s\n", what, errno != 0 ? strerror(errno) : "invalid");
  exit(3);
}

static inline struct sockaddr_in loopback(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  return address;
}

static inline void no_delay(int fd) {
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static inline int listen_on(int port) {
  int one = 1;
  struct sockaddr_in address = loopback(port);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (struct sockaddr*)&address, sizeof address) != 0) die("bind");
  if (listen(fd, 4096) != 0) die("listen");
  return fd;
}

// Starts a connection; the socket becomes writable when it is established. -1: failed at once.
static inline int connect_to(int port) {
  struct sockaddr_in address = loopback(port);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  no_delay(fd);
  if (connect(fd, (struct sockaddr*)&address, sizeof address) == 0 || errno == EINPROGRESS) {
    return fd;
  }
  close(fd);
  return -1;
}

// Length of the head including its blank line, 0 when it is not complete.
static inline size_t head_length(const char* data, size_t length) {
  const char* end = memmem(data, length, "\r\n\r\n", 4);
  return end == NULL ? 0 : (size_t)(end - data) + 4;
}

// Value of Content-Length in a complete head, `missing` when there is none.
static inline size_t content_length(const char* head, size_t length, size_t missing) {
  static const char kName[] = "content-length:";
  const char* end = head + length;
  const char* line = memchr(head, '\n', length);
  while (line != NULL && end - ++line > (ptrdiff_t)sizeof kName) {
    if ((*line | 0x20) == 'c' && strncasecmp(line, kName, sizeof kName - 1) == 0) {
      return strtoul(line + sizeof kName - 1, NULL, 10);
    }
    line = memchr(line, '\n', (size_t)(end - line));
  }
  return missing;
}

struct answer {
  const char* path;
  const char* type;
  size_t length;
};

static const struct answer kAnswers[] = {
    {"/small", "text/plain", 200},
    {"/json", "application/json", 1024},
    {"/64k", "application/octet-stream", 64 << 10},
    {"/1m", "application/octet-stream", 1 << 20},
    {"/upload", "text/plain", 2},
};
enum { kAnswerCount = sizeof kAnswers / sizeof kAnswers[0] };

static inline const struct answer* find_answer(const char* path, size_t length) {
  for (int i = 0; i < kAnswerCount; ++i) {
    if (strlen(kAnswers[i].path) == length && memcmp(kAnswers[i].path, path, length) == 0) {
      return &kAnswers[i];
    }
  }
  return NULL;
}

// The body of an answer: bytes that differ by position, so that lost, doubled or swapped parts
// show.
static inline void fill_body(const struct answer* answer, char* out) {
  if (strcmp(answer->path, "/json") == 0) {
    size_t used = (size_t)sprintf(out, "{\"items\":[");
    for (int i = 0; used + 100 < answer->length; ++i) {
      static const char kItem[] =
          "{\"id\":%d,\"name\":\"item-%d\",\"price\":%d.99,\"in_stock\":true},";
      used += (size_t)sprintf(out + used, kItem, 1000 + i, i, i);
    }
    used += (size_t)sprintf(out + used, "{}],\"padding\":\"");
    memset(out + used, 'x', answer->length - used - 2);
    memcpy(out + answer->length - 2, "\"}", 2);
    return;
  }
  for (size_t i = 0; i < answer->length; ++i)
    out[i] = (char)('!' + (i * 7 + i / 89 + i / 8191) % 90);
}
