// h2origin PORT: the upstream server of grpc_unary: HTTP/2 by prior knowledge, one thread, epoll.
// Every request of kGrpcRequest body bytes gets the same gRPC message and trailers, any other a
// 400. It counts frames and reads no header (so needs no HPACK), writes once per read, and polls
// as origin.c does: it is the proxy which is measured. Understands what proxies send: no padding.
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>

#include "common.h"
#include "h2frames.h"

enum { kBufferSize = 256 << 10, kEmptyPolls = 2000, kStreams = 1 << 12 };

struct conn {
  int fd;
  bool greeted;            // the client's preface was read
  bool no_table, primed;   // of the client's HPACK decoder: it keeps none; it has our two fields
  int64_t window;          // bytes that the client takes
  uint32_t received;       // body bytes since the last WINDOW_UPDATE
  uint32_t ids[kStreams];  // by id / 2: requests whose body is being read
  uint32_t bodies[kStreams];
  uint32_t waiting[kStreams];  // answers that found no window, a ring
  unsigned waiting_head, waiting_count;
  char *out, *in;  // what the socket did not take, the start of a frame
  size_t out_length, out_size, in_length;
};

static char buffer[kBufferSize + kFrameHeader + kMaxFrame];
static char message[kGrpcAnswer];

static void close_conn(struct conn* c) {
  close(c->fd);
  free(c->out);
  free(c->in);
  free(c);
}

static char* reserve(struct conn* c, size_t length) {
  if (c->out_length + length > c->out_size) {
    c->out_size = 2 * (c->out_length + length);
    c->out = realloc(c->out, c->out_size);
  }
  return c->out + c->out_length;
}

static void say(struct conn* c, uint8_t type, uint8_t flags, uint32_t id, const char* payload,
                size_t length) {
  char* out = reserve(c, kFrameHeader + length);
  put_frame(out, length, type, flags, id);
  memcpy(out + kFrameHeader, payload, length);
  c->out_length += kFrameHeader + length;
}

// The two fields are in the client's table once they were sent, as gRPC's servers have it: the
// newest entry is 62. A client that keeps no table (nginx) gets them whole.
static void answer(struct conn* c, uint32_t id) {
  static const char kHeadFirst[] =
      "\x88\x5f\x10"
      "application/grpc";
  static const char kTrailersFirst[] =
      "\x40\x0bgrpc-status\x01"
      "0";
  static const char kHead[] = "\x88\xbf", kTrailers[] = "\xbe";
  static const char kHeadWhole[] =
      "\x20\x88\x0f\x10\x10"
      "application/grpc";
  static const char kTrailersWhole[] =
      "\x00\x0bgrpc-status\x01"
      "0";
  const char *head = kHead, *trailers = kTrailers;
  size_t head_size = sizeof kHead - 1, trailers_size = sizeof kTrailers - 1;
  if (c->no_table) {  // 0x20: the table is empty from here on, to be said once
    head = c->primed ? kHeadWhole + 1 : kHeadWhole;
    head_size = sizeof kHeadWhole - 1 - (c->primed ? 1 : 0);
    trailers = kTrailersWhole;
    trailers_size = sizeof kTrailersWhole - 1;
  } else if (!c->primed) {
    head = kHeadFirst;
    head_size = sizeof kHeadFirst - 1;
    trailers = kTrailersFirst;
    trailers_size = sizeof kTrailersFirst - 1;
  }
  c->primed = true;
  c->window -= kGrpcAnswer;
  say(c, kHeaders, kEndHeaders, id, head, head_size);
  say(c, kData, 0, id, message, sizeof message);
  say(c, kHeaders, kEndHeaders | kEndStream, id, trailers, trailers_size);
}

static void answer_waiting(struct conn* c) {
  while (c->waiting_count > 0 && c->window >= kGrpcAnswer) {
    answer(c, c->waiting[c->waiting_head++ % kStreams]);
    --c->waiting_count;
  }
}

static void request_ended(struct conn* c, uint32_t id) {
  unsigned i = id / 2 % kStreams;
  uint32_t body = c->ids[i] == id ? c->bodies[i] : 0;
  c->ids[i] = 0;
  if (body != kGrpcRequest) {
    say(c, kHeaders, kEndHeaders | kEndStream, id, "\x8c", 1);  // :status 400
  } else if (c->waiting_count < kStreams) {
    c->waiting[(c->waiting_head + c->waiting_count++) % kStreams] = id;
    answer_waiting(c);
  }
}

static void take_settings(struct conn* c, const uint8_t* payload, size_t length) {
  for (; length >= 6; payload += 6, length -= 6) {
    if (get16(payload) == 1) c->no_table = get32(payload + 2) < 256;
  }
  say(c, kSettings, kAck, 0, "", 0);
}

static void take_data(struct conn* c, uint32_t id, size_t length) {
  unsigned i = id / 2 % kStreams;
  if (c->ids[i] != id) {
    c->ids[i] = id;
    c->bodies[i] = 0;
  }
  c->bodies[i] += (uint32_t)length;
  c->received += (uint32_t)length;
  if (c->received < (1u << 20)) return;
  char more[4];
  put32(more, c->received);
  say(c, kWindowUpdate, 0, 0, more, 4);
  c->received = 0;
}

static void take_frame(struct conn* c, const struct frame* frame) {
  bool ends = (frame->flags & kEndStream) != 0;
  switch (frame->type) {
    case kData:
      take_data(c, frame->id, frame->length);
      if (ends) request_ended(c, frame->id);
      break;
    case kHeaders:
      if (ends) request_ended(c, frame->id);
      break;
    case kSettings:
      if (!(frame->flags & kAck)) take_settings(c, frame->payload, frame->length);
      break;
    case kPing:
      if (!(frame->flags & kAck)) say(c, kPing, kAck, 0, (const char*)frame->payload, 8);
      break;
    case kWindowUpdate:
      if (frame->id != 0) break;
      c->window += get32(frame->payload);
      answer_waiting(c);
      break;
    default:
      break;
  }
}

// False: not HTTP/2.
static bool take(struct conn* c, const char* data, size_t length) {
  if (!c->greeted) {
    if (length < sizeof kPreface - 1) return false;
    if (memcmp(data, kPreface, sizeof kPreface - 1) != 0) return false;
    c->greeted = true;
    data += sizeof kPreface - 1;
    length -= sizeof kPreface - 1;
  }
  struct frame frame;
  size_t taken;
  while ((taken = next_frame(data, length, &frame)) > 0) {
    take_frame(c, &frame);
    data += taken;
    length -= taken;
  }
  if (length >= kFrameHeader + kMaxFrame) return false;
  c->in = realloc(c->in, length + 1);
  memcpy(c->in, data, length);
  c->in_length = length;
  return true;
}

// False: the connection is gone.
static bool write_out(struct conn* c) {
  size_t sent = 0;
  while (sent < c->out_length) {
    ssize_t n = send(c->fd, c->out + sent, c->out_length - sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) return close_conn(c), false;
    if (n < 0) break;
    sent += (size_t)n;
  }
  c->out_length -= sent;
  if (sent > 0) memmove(c->out, c->out + sent, c->out_length);
  return true;
}

static void on_event(struct conn* c, uint32_t events) {
  for (;;) {
    size_t kept = c->in_length;
    if (kept > 0) memcpy(buffer, c->in, kept);
    ssize_t n = recv(c->fd, buffer + kept, kBufferSize, 0);
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0 || !take(c, buffer, kept + (size_t)n)) return close_conn(c);
    if (n < kBufferSize && !(events & (EPOLLRDHUP | EPOLLHUP))) break;
  }
  write_out(c);
}

static void accept_all(int epoll, int listener) {
  int fd;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    no_delay(fd);
    struct conn* c = calloc(1, sizeof *c);
    c->fd = fd;
    c->window = 65535;
    char settings[6] = {0, 3}, more[4];
    put32(settings + 2, 1 << 10);  // MAX_CONCURRENT_STREAMS
    say(c, kSettings, 0, 0, settings, sizeof settings);
    put32(more, 1 << 30);
    say(c, kWindowUpdate, 0, 0, more, 4);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
  }
}

int main(int argc, char** argv) {
  if (argc != 2) return fprintf(stderr, "usage: h2origin PORT\n"), 2;
  signal(SIGPIPE, SIG_IGN);
  fill_grpc(message, sizeof message);
  int listener = listen_on(atoi(argv[1]));
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
  for (int empty = 0;;) {
    struct epoll_event events[256];
    int n = epoll_wait(epoll, events, 256, empty < kEmptyPolls ? 0 : -1);
    empty = n == 0 ? empty + 1 : 0;
    if (n == 0) sched_yield();
    for (int i = 0; i < n; ++i) {
      if (events[i].data.ptr == NULL) {
        accept_all(epoll, listener);
      } else {
        on_event(events[i].data.ptr, events[i].events);
      }
    }
  }
}
