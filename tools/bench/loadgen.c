// loadgen: the benchmark's client, cheap in CPU so that it can share a core with the origin, and
// distrustful: every answer's status, length and (for large bodies: one in 64) bytes are checked.
//   closed loop   C keep-alive connections, each sends its next request when its answer is complete
//   --rate R      open loop: Poisson arrivals at R per second, latency counted from the moment a
//                 request was due, so that a stall is charged to every request that waited behind
//                 it
//   --idle N      N connections make one request each and stay; prints a line when all are there,
//                 ends when stdin is closed
// It polls and never sleeps (origin.c says why), giving the core away when there is nothing to do.
// Prints one JSON object. Exit code 1: some answer was wrong or missing.
#define _GNU_SOURCE
#include <getopt.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>

#include "common.h"
#include "histogram.h"
#include "requests.h"

enum { kBufferSize = 256 << 10, kPeek = 4096, kErrorLimit = 1000, kWindow = 64 };
static const int64_t kSecond = 1000000000;
static const int64_t kGrace = 5000000000;  // for what is outstanding at the end

struct conn {
  int fd;
  bool waiting;      // a request is under way
  bool answered;     // its answer is complete, the server's close is awaited
  bool check;        // compare this body byte by byte
  size_t sent;       // of the request
  size_t body_left;  // 0 and !in_body: the head is awaited
  bool in_body;
  char* partial;
  size_t partial_length;
  int64_t due;
};

static struct options {
  int port, connections, idle;
  double seconds, rate;
  uint64_t requests;
  const char* headers;
  const struct answer* answer;
  size_t post;
  bool new_connection;
} options = {.connections = 64, .seconds = 1e9, .requests = UINT64_MAX, .headers = "few"};

static struct {
  uint64_t answered, errors, reconnects, sent, bytes;
} count;
static struct histogram latency;
static const char* first_error;
static int epoll;
static struct conn* conns;
static char *request, *body, *buffer;
static size_t request_length;
static int64_t now, deadline;
static struct conn** idle_ring;  // open loop: connections without a request, first in first out
static size_t idle_head, idle_count;
static int64_t* due_ring;  // open loop: requests that found no connection
static size_t due_head, due_count;
enum { kDueLimit = 1 << 20 };

static void make_request(void) {
  request = malloc(4096 + options.post);
  char* p = request;
  p += sprintf(p, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s", options.post > 0 ? "POST" : "GET",
               options.answer->path, options.port, header_lines(options.headers));
  if (options.new_connection) p += sprintf(p, "Connection: close\r\n");
  if (options.post > 0) {
    p += sprintf(p, "Content-Type: application/octet-stream\r\nContent-Length: %zu\r\n",
                 options.post);
  }
  p += sprintf(p, "\r\n");
  memset(p, 'u', options.post);
  request_length = (size_t)(p - request) + options.post;
}

static void open_conn(struct conn* c) {
  c->fd = connect_to(options.port);
  if (c->fd < 0) die("connect");
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) != 0) die("epoll_ctl");
}

static void start_request(struct conn* c, int64_t due);

static bool may_start(void) {
  return now < deadline && count.sent < options.requests && count.errors < kErrorLimit;
}

// The connection is free: gives it the next request, or none when the run is over.
static void next_request(struct conn* c) {
  if (options.idle > 0) return;  // the main loop starts these
  if (options.rate <= 0) {
    if (may_start()) start_request(c, now);
    return;
  }
  if (due_count > 0) {
    int64_t due = due_ring[due_head];
    due_head = (due_head + 1) % kDueLimit;
    --due_count;
    start_request(c, due);
    return;
  }
  idle_ring[(idle_head + idle_count++) % (size_t)options.connections] = c;
}

static void forget_exchange(struct conn* c) {
  c->waiting = c->answered = c->in_body = false;
  c->partial_length = 0;
}

// Replaces the connection by a new one; `error` counts the request as failed.
static void restart(struct conn* c, const char* error) {
  if (error != NULL) {
    ++count.errors;
    if (first_error == NULL) first_error = error;
  } else {
    ++count.reconnects;
  }
  bool was_waiting = c->waiting;
  close(c->fd);
  forget_exchange(c);
  if (count.errors >= kErrorLimit) {
    c->fd = -1;
    return;
  }
  open_conn(c);
  if (was_waiting) next_request(c);
}

static void send_request(struct conn* c) {
  while (c->sent < request_length) {
    ssize_t n = send(c->fd, request + c->sent, request_length - c->sent, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno != EAGAIN) restart(c, "cannot send");
      return;
    }
    c->sent += (size_t)n;
  }
}

static void start_request(struct conn* c, int64_t due) {
  c->waiting = true;
  c->due = due;
  c->sent = 0;
  c->check = options.answer->length <= kPeek || count.sent % 64 == 0;
  ++count.sent;
  send_request(c);
}

static void complete(struct conn* c) {
  int64_t end = options.rate > 0 ? clock_now() : now;
  histogram_add(&latency, (uint64_t)(end - c->due));
  ++count.answered;
  count.bytes += options.answer->length;
  forget_exchange(c);
  if (options.new_connection) {
    close(c->fd);
    c->fd = -1;
    if (!may_start()) return;
    open_conn(c);
  }
  next_request(c);
}

// Looks at the head in buffer[0, length); false: wrong, `c` was restarted.
static bool take_head(struct conn* c, size_t length, size_t* head) {
  *head = head_length(buffer, length);
  if (*head == 0) {
    c->partial = realloc(c->partial, length);
    memcpy(c->partial, buffer, length);
    c->partial_length = length;
    return true;
  }
  c->partial_length = 0;
  if (*head < 13 || memcmp(buffer, "HTTP/1.1 200", 12) != 0) {
    restart(c, "status is not 200");
    return false;
  }
  if (content_length(buffer, *head, SIZE_MAX) != options.answer->length) {
    restart(c, "Content-Length is not the origin's");
    return false;
  }
  c->in_body = true;
  c->body_left = options.answer->length;
  return true;
}

// Takes body bytes (NULL: discarded by the kernel); false: wrong, `c` was restarted.
static bool take_body(struct conn* c, const char* data, size_t length) {
  if (length > c->body_left) {
    restart(c, "more bytes than announced");
    return false;
  }
  size_t offset = options.answer->length - c->body_left;
  if (data != NULL && memcmp(data, body + offset, length) != 0) {
    restart(c, "body differs from the origin's");
    return false;
  }
  c->body_left -= length;
  return true;
}

// One read; false: nothing more to do for this connection now.
static bool read_some(struct conn* c) {
  size_t kept = c->partial_length;
  ssize_t n;
  if (c->in_body && !c->check && c->body_left > 0) {
    n = recv(c->fd, NULL, c->body_left, MSG_TRUNC);  // discards without copying
  } else {
    if (kept > 0) memcpy(buffer, c->partial, kept);
    n = recv(c->fd, buffer + kept, (c->check ? kBufferSize : kPeek) - kept, 0);
  }
  if (n < 0 && errno == EAGAIN) return false;
  if (n <= 0) {
    if (c->answered) {
      complete(c);
    } else {
      restart(c, c->waiting ? "closed before the answer was complete" : NULL);
    }
    return false;
  }
  if (!c->waiting || c->answered) return restart(c, "bytes that nobody asked for"), false;
  if (c->in_body) {
    if (!take_body(c, c->check ? buffer : NULL, (size_t)n)) return false;
  } else {
    size_t head;
    if (!take_head(c, kept + (size_t)n, &head)) return false;
    if (head == 0) return true;
    if (!take_body(c, buffer + head, kept + (size_t)n - head)) return false;
  }
  if (c->body_left > 0) return true;
  if (options.new_connection) {
    c->answered = true;
    return true;
  }
  complete(c);
  return false;
}

static void on_event(struct conn* c, uint32_t events) {
  if (c->fd < 0) return;
  if (c->waiting && c->sent < request_length) send_request(c);
  if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))) return;
  while (c->fd >= 0 && read_some(c)) {
  }
}

// Handles what has come.
static void turn(void) {
  struct epoll_event events[256];
  int n = epoll_wait(epoll, events, 256, 0);
  if (n == 0) sched_yield();
  now = clock_now();
  for (int i = 0; i < n; ++i) on_event(events[i].data.ptr, events[i].events);
}

static uint64_t outstanding(void) {
  uint64_t n = 0;
  int total = options.idle > 0 ? options.idle : options.connections;
  for (int i = 0; i < total; ++i) n += conns[i].waiting;
  return n;
}

static void drain(void) {
  int64_t end = now + kGrace;
  uint64_t left;
  while ((left = outstanding() + due_count) > 0 && now < end && count.errors < kErrorLimit) {
    turn();
  }
  if (left == 0) return;
  count.errors += left;
  if (first_error == NULL) first_error = "no answer in time";
}

static void run_closed(void) {
  for (int i = 0; i < options.connections; ++i) open_conn(&conns[i]);
  for (int i = 0; i < options.connections && may_start(); ++i) start_request(&conns[i], now);
  while (may_start()) turn();
}

// Exponential gaps from a fixed seed: every proxy meets the same arrivals.
static double next_gap(void) {
  static uint64_t state = 88172645463325252ULL;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  double uniform = (double)((state >> 11) + 1) / 9007199254740993.0;
  return -log(uniform) / options.rate * (double)kSecond;
}

static void run_open(void) {
  idle_ring = calloc((size_t)options.connections, sizeof *idle_ring);
  due_ring = calloc(kDueLimit, sizeof *due_ring);
  for (int i = 0; i < options.connections; ++i) {
    open_conn(&conns[i]);
    next_request(&conns[i]);
  }
  double due = (double)now;
  while (may_start()) {
    for (; (int64_t)due <= now; due += next_gap()) {
      if (due_count == kDueLimit) {
        first_error = "overloaded: a million requests wait";
        count.errors += kErrorLimit;
        return;
      }
      due_ring[(due_head + due_count++) % kDueLimit] = (int64_t)due;
      if (idle_count == 0) continue;
      struct conn* c = idle_ring[idle_head];
      idle_head = (idle_head + 1) % (size_t)options.connections;
      --idle_count;
      next_request(c);
    }
    turn();
  }
}

static void run_idle(void) {
  int started = 0;
  while (count.errors < kErrorLimit && now < deadline && count.answered < (uint64_t)options.idle) {
    while (started < options.idle && (uint64_t)started - count.answered < kWindow) {
      open_conn(&conns[started]);
      start_request(&conns[started++], now);
    }
    turn();
  }
  printf("{\"ready\": %lu, \"errors\": %lu}\n", count.answered, count.errors);
  fflush(stdout);
  char end;
  while (read(STDIN_FILENO, &end, 1) > 0) {
  }
  turn();  // counts what was closed meanwhile
}

static void print_result(double seconds) {
  printf(
      "{\"requests\": %lu, \"errors\": %lu, \"reconnects\": %lu, \"seconds\": %.3f, \"rps\": %.1f, "
      "\"bytes\": %lu, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
      "\"max_us\": %.1f, \"first_error\": \"%s\"}\n",
      count.answered, count.errors, count.reconnects, seconds, (double)count.answered / seconds,
      count.bytes, histogram_at(&latency, 0.5) / 1e3, histogram_at(&latency, 0.9) / 1e3,
      histogram_at(&latency, 0.99) / 1e3, histogram_at(&latency, 0.999) / 1e3,
      (double)latency.max / 1e3, first_error == NULL ? "" : first_error);
}

static void usage(void) {
  fprintf(stderr,
          "usage: loadgen --port P --path /small|/json|/64k|/1m|/upload [--connections 64]\n"
          "  [--seconds S] [--requests N] [--rate R] [--idle N] [--headers few|browser]\n"
          "  [--post BYTES] [--new-connection]\n"
          "example: loadgen --port 8080 --path /json --headers browser --seconds 6\n");
  exit(2);
}

static void parse_options(int argc, char** argv) {
  static const struct option kOptions[] = {
      {"port", 1, 0, 'p'},    {"path", 1, 0, 'u'}, {"connections", 1, 0, 'c'},
      {"seconds", 1, 0, 's'}, {"rate", 1, 0, 'r'}, {"requests", 1, 0, 'n'},
      {"headers", 1, 0, 'h'}, {"post", 1, 0, 'b'}, {"new-connection", 0, 0, 'x'},
      {"idle", 1, 0, 'i'},    {0, 0, 0, 0}};
  int o;
  while ((o = getopt_long(argc, argv, "", kOptions, NULL)) != -1) {
    switch (o) {
      case 'p':
        options.port = atoi(optarg);
        break;
      case 'u':
        options.answer = find_answer(optarg, strlen(optarg));
        break;
      case 'c':
        options.connections = atoi(optarg);
        break;
      case 's':
        options.seconds = atof(optarg);
        break;
      case 'r':
        options.rate = atof(optarg);
        break;
      case 'n':
        options.requests = strtoull(optarg, NULL, 10);
        break;
      case 'h':
        options.headers = optarg;
        break;
      case 'b':
        options.post = strtoull(optarg, NULL, 10);
        break;
      case 'x':
        options.new_connection = true;
        break;
      case 'i':
        options.idle = atoi(optarg);
        break;
      default:
        usage();
    }
  }
  if (options.port == 0 || options.answer == NULL || options.connections < 1 ||
      header_lines(options.headers) == NULL)
    usage();
}

int main(int argc, char** argv) {
  parse_options(argc, argv);
  signal(SIGPIPE, SIG_IGN);
  make_request();
  body = malloc(options.answer->length);
  fill_body(options.answer, body);
  buffer = malloc(kBufferSize);
  int total = options.idle > options.connections ? options.idle : options.connections;
  conns = calloc((size_t)total, sizeof *conns);
  for (int i = 0; i < total; ++i) conns[i].fd = -1;
  epoll = epoll_create1(EPOLL_CLOEXEC);
  int64_t start = now = clock_now();
  deadline = start + (int64_t)(options.seconds < 1e6 ? options.seconds * 1e9 : 1e15);
  if (options.idle > 0) {
    run_idle();
  } else if (options.rate > 0) {
    run_open();
  } else {
    run_closed();
  }
  drain();
  print_result((double)(now - start) / 1e9);
  return count.errors > 0 ? 1 : 0;
}
