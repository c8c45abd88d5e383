// tlsload: loadgen's sister for TLS 1.3, over OpenSSL: handshakes, requests over kept-alive
// connections, idle connections; the latter also of HTTP/2, with TLS or without. One request at a
// time per connection, every byte of every answer is checked.
//   closed loop       C connections, each sends its next request when its answer is complete
//   --new-connection  a full handshake for each request; with --resume one that resumes a session
//   --idle N          N connections make one request each and stay, as in loadgen
// Polls and never sleeps, as loadgen does, and prints the same JSON object.
#define _GNU_SOURCE
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "common.h"
#include "h2frames.h"
#include "histogram.h"
#include "requests.h"

enum { kAnswerRoom = 8192, kErrorLimit = 1000, kWindow = 64 };
static const int64_t kGrace = 5000000000;  // for what is outstanding at the end

struct conn {
  int fd;
  SSL* ssl;
  bool ready;    // the handshake is done
  bool waiting;  // a request is under way
  bool greeted;  // HTTP/2: our preface was sent
  uint32_t id;   // HTTP/2: of the request
  size_t body_got;
  char* got;  // the answer so far
  size_t got_length;
  int64_t due;
};

static struct options {
  int port, connections, idle;
  double seconds;
  uint64_t requests;
  const char* headers;
  const struct answer* answer;
  bool new_connection, resume, h2, plain;
} options = {.connections = 64, .seconds = 1e6, .requests = UINT64_MAX, .headers = "few"};

static struct {
  uint64_t answered, errors, reconnects, sent, bytes, resumed;
} count;
static struct histogram latency;
static const char* first_error;
static SSL_CTX* context;
static SSL_SESSION* session;
static int epoll;
static struct conn* conns;
static char *request, *body;
static size_t request_length;
static int64_t now, deadline;

static bool may_start(void) {
  return now < deadline && count.sent < options.requests && count.errors < kErrorLimit;
}

// The newest session is the one that a browser would take. OpenSSL lets one be used once, so what
// is used are copies: several connections begin before the next session comes.
static int keep_session(SSL* ssl, SSL_SESSION* newest) {
  (void)ssl;
  SSL_SESSION_free(session);
  session = SSL_SESSION_dup(newest);
  return 0;
}

static void make_context(void) {
  context = SSL_CTX_new(TLS_client_method());
  static const unsigned char kH1[] = "\x08http/1.1", kH2[] = "\x02h2";
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
  SSL_CTX_set1_groups_list(context, "X25519");
  SSL_CTX_set_alpn_protos(context, options.h2 ? kH2 : kH1,
                          options.h2 ? sizeof kH2 - 1 : sizeof kH1 - 1);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  if (options.resume) SSL_CTX_sess_set_new_cb(context, keep_session);
}

// HTTP/2: the headers of a GET, all literal, as this program keeps no HPACK state.
static void make_request(void) {
  request = malloc(4096);
  if (!options.h2) {
    request_length =
        (size_t)sprintf(request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n",
                        options.answer->path, options.port, header_lines(options.headers));
    return;
  }
  char* p = request + kFrameHeader;
  *p++ = (char)0x82;                           // :method GET
  *p++ = (char)(options.plain ? 0x86 : 0x87);  // :scheme
  p += sprintf(p, "\x04%c%s", (int)strlen(options.answer->path), options.answer->path);
  p += sprintf(p,
               "\x01\x09"
               "localhost");  // :authority
  request_length = (size_t)(p - request);
}

static ssize_t send_some(struct conn* c, const char* data, size_t length) {
  if (c->ssl == NULL) return send(c->fd, data, length, MSG_NOSIGNAL);
  return SSL_write(c->ssl, data, (int)length);
}

// > 0: bytes; 0: nothing now; -1: the end.
static ssize_t receive_some(struct conn* c, char* to, size_t room) {
  if (c->ssl == NULL) {
    ssize_t n = recv(c->fd, to, room, 0);
    return n > 0 ? n : n < 0 && errno == EAGAIN ? 0 : -1;
  }
  int n = SSL_read(c->ssl, to, (int)room);
  if (n > 0) return n;
  int error = SSL_get_error(c->ssl, n);
  ERR_clear_error();
  return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static void open_conn(struct conn* c) {
  c->fd = connect_to(options.port);
  if (c->fd < 0) die("connect");
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) != 0) die("epoll_ctl");
  c->due = clock_now();
  c->id = (uint32_t)-1;
  if (options.plain) return;
  c->ssl = SSL_new(context);
  SSL_set_fd(c->ssl, c->fd);
  SSL_set_connect_state(c->ssl);
  if (!options.resume || session == NULL) return;
  SSL_SESSION* copy = SSL_SESSION_dup(session);
  SSL_set_session(c->ssl, copy);
  SSL_SESSION_free(copy);
}

static void close_conn(struct conn* c) {
  if (c->ssl != NULL) {
    if (c->ready) SSL_shutdown(c->ssl);
    SSL_free(c->ssl);
    ERR_clear_error();
  }
  close(c->fd);
  free(c->got);
  *c = (struct conn){.fd = -1};
}

static void begin(struct conn* c) {
  ++count.sent;
  open_conn(c);
  c->waiting = true;
}

// `error`: of the request under way, which is lost; NULL: the proxy closed an idle connection.
static void fail(struct conn* c, const char* error) {
  if (error != NULL) {
    ++count.errors;
    if (first_error == NULL) first_error = error;
  } else {
    ++count.reconnects;
  }
  close_conn(c);
  if (error != NULL && options.idle == 0 && may_start()) begin(c);
}

// Requests are far smaller than a socket's buffer.
static bool say(struct conn* c, const char* data, size_t length) {
  if (send_some(c, data, length) == (ssize_t)length) return true;
  return fail(c, "cannot send"), false;
}

static bool send_request(struct conn* c) {
  c->got_length = c->body_got = 0;
  if (!options.h2) return say(c, request, request_length);
  char out[256 + sizeof kPreface];
  char* p = out;
  if (!c->greeted) {
    memcpy(p, kPreface, sizeof kPreface - 1);
    p += sizeof kPreface - 1;
    put_frame(p, 0, kSettings, 0, 0);
    p += kFrameHeader;
    c->greeted = true;
  }
  c->id += 2;
  memcpy(p, request, request_length);
  put_frame(p, request_length - kFrameHeader, kHeaders, kEndHeaders | kEndStream, c->id);
  return say(c, out, (size_t)(p - out) + request_length);
}

static void complete(struct conn* c) {
  int64_t end = clock_now();
  histogram_add(&latency, (uint64_t)(end - c->due));
  ++count.answered;
  count.bytes += options.answer->length;
  c->waiting = false;
  if (options.idle > 0) {
    free(c->got);
    c->got = NULL;
    return;
  }
  if (options.new_connection) {
    close_conn(c);
    if (may_start()) begin(c);
    return;
  }
  if (!may_start()) return;
  ++count.sent;
  c->waiting = true;
  c->due = end;
  send_request(c);
}

// Looks at what has come of an answer; NULL: all is well, `*done`: it is complete.
static const char* check_h1(struct conn* c, bool* done) {
  size_t head = head_length(c->got, c->got_length), length = options.answer->length;
  if (head == 0) return NULL;
  if (head < 13 || memcmp(c->got, "HTTP/1.1 200", 12) != 0) return "status is not 200";
  if (content_length(c->got, head, SIZE_MAX) != length) return "Content-Length is not the origin's";
  if (c->got_length > head + length) return "more bytes than announced";
  if (memcmp(c->got + head, body, c->got_length - head) != 0)
    return "body differs from the origin's";
  *done = c->got_length == head + length;
  return NULL;
}

static const char* check_frame(struct conn* c, const struct frame* frame, bool* done) {
  char reply[kFrameHeader];
  if (frame->type == kSettings && !(frame->flags & kAck)) {
    put_frame(reply, 0, kSettings, kAck, 0);
    if (send_some(c, reply, sizeof reply) != sizeof reply) return "cannot send";
  }
  if (frame->type == kGoAway || frame->type == kResetStream) return "reset";
  if (frame->type == kHeaders) {
    size_t i = 0;
    while (i < frame->length && (frame->payload[i] & 0xe0) == 0x20) ++i;  // size of the table
    if (i == frame->length || frame->payload[i] != 0x88) return "status is not 200";
  }
  if (frame->type == kData) {
    if (c->body_got + frame->length > options.answer->length) return "more bytes than announced";
    if (memcmp(body + c->body_got, frame->payload, frame->length) != 0)
      return "body differs from the origin's";
    c->body_got += frame->length;
  }
  bool ends = (frame->type == kData || frame->type == kHeaders) && (frame->flags & kEndStream);
  if (ends && c->body_got != options.answer->length) return "the body is too short";
  *done |= ends;
  return NULL;
}

static const char* check_h2(struct conn* c, bool* done) {
  struct frame frame;
  size_t used = 0, taken;
  while ((taken = next_frame(c->got + used, c->got_length - used, &frame)) > 0) {
    const char* error = check_frame(c, &frame, done);
    if (error != NULL) return error;
    used += taken;
  }
  c->got_length -= used;
  memmove(c->got, c->got + used, c->got_length);
  return NULL;
}

// Reads all that there is; false: the connection was replaced or closed.
static bool read_all(struct conn* c) {
  for (;;) {
    if (c->got == NULL) c->got = malloc(kAnswerRoom);
    if (c->got_length == kAnswerRoom) return fail(c, "the answer is too long"), false;
    ssize_t n = receive_some(c, c->got + c->got_length, kAnswerRoom - c->got_length);
    if (n == 0) break;
    if (n < 0) {
      return fail(c, c->waiting ? "closed before the answer was complete" : NULL), false;
    }
    c->got_length += (size_t)n;
    bool done = false;
    const char* error = options.h2 ? check_h2(c, &done) : check_h1(c, &done);
    if (error != NULL) return fail(c, error), false;
    if (done && !c->waiting) return fail(c, "bytes that nobody asked for"), false;
    if (done) {
      complete(c);
      return false;  // what comes next has an event of its own
    }
  }
  if (!c->waiting) {
    free(c->got);
    c->got = NULL;
    c->got_length = 0;
  }
  return true;
}

static bool handshake(struct conn* c) {
  if (c->ssl != NULL) {
    int result = SSL_do_handshake(c->ssl);
    if (result != 1) {
      int error = SSL_get_error(c->ssl, result);
      ERR_clear_error();
      if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
        fail(c, "handshake failed");
      }
      return false;
    }
    bool resumed = SSL_session_reused(c->ssl) != 0;
    count.resumed += resumed;
    if (options.resume && !resumed && count.answered > 0) {
      return fail(c, "the session was not resumed"), false;
    }
  }
  c->ready = true;
  return send_request(c);
}

static void on_event(struct conn* c, uint32_t events) {
  if (c->fd < 0) return;
  if (!c->ready) {
    if (c->ssl == NULL && !(events & EPOLLOUT)) return;
    if (!handshake(c)) return;
  }
  read_all(c);
}

static void turn(void) {
  struct epoll_event events[256];
  int n = epoll_wait(epoll, events, 256, 0);
  if (n == 0) sched_yield();
  now = clock_now();
  for (int i = 0; i < n; ++i) on_event(events[i].data.ptr, events[i].events);
}

static void drain(void) {
  int64_t end = now + kGrace;
  while (count.answered + count.errors < count.sent && now < end && count.errors < kErrorLimit) {
    turn();
  }
  if (count.answered + count.errors >= count.sent) return;
  count.errors += count.sent - count.answered - count.errors;
  if (first_error == NULL) first_error = "no answer in time";
}

static void run_closed(void) {
  if (options.resume) {  // the first one brings the session
    begin(&conns[0]);
    while (may_start() && session == NULL) turn();
  }
  for (int i = 0; i < options.connections && may_start(); ++i) {
    if (conns[i].fd < 0) begin(&conns[i]);
  }
  while (may_start()) turn();
}

static void run_idle(void) {
  int started = 0;
  while (count.errors < kErrorLimit && now < deadline && count.answered < (uint64_t)options.idle) {
    while (started < options.idle && (uint64_t)started - count.answered < kWindow) {
      begin(&conns[started++]);
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

static void usage(void) {
  fprintf(stderr,
          "usage: tlsload --port P --path /small|/json [--connections 64] [--seconds S]\n"
          "  [--requests N] [--headers few|browser] [--new-connection] [--resume] [--idle N]\n"
          "  [--h2] [--plain]\n"
          "example: tlsload --port 8443 --path /small --new-connection --resume --seconds 6\n");
  exit(2);
}

static void parse_options(int argc, char** argv) {
  static const struct option kOptions[] = {
      {"port", 1, 0, 'p'},    {"path", 1, 0, 'u'},   {"connections", 1, 0, 'c'},
      {"seconds", 1, 0, 's'}, {"idle", 1, 0, 'i'},   {"requests", 1, 0, 'n'},
      {"headers", 1, 0, 'h'}, {"resume", 0, 0, 'r'}, {"new-connection", 0, 0, 'x'},
      {"h2", 0, 0, '2'},      {"plain", 0, 0, 't'},  {0, 0, 0, 0}};
  int o;
  while ((o = getopt_long(argc, argv, "", kOptions, NULL)) != -1) {
    if (o == 'p')
      options.port = atoi(optarg);
    else if (o == 'u')
      options.answer = find_answer(optarg, strlen(optarg));
    else if (o == 'c')
      options.connections = atoi(optarg);
    else if (o == 's')
      options.seconds = atof(optarg);
    else if (o == 'i')
      options.idle = atoi(optarg);
    else if (o == 'n')
      options.requests = strtoull(optarg, NULL, 10);
    else if (o == 'h')
      options.headers = optarg;
    else if (o == 'r')
      options.resume = true;
    else if (o == 'x')
      options.new_connection = true;
    else if (o == '2')
      options.h2 = true;
    else if (o == 't')
      options.plain = true;
    else
      usage();
  }
  if (options.port == 0 || options.answer == NULL || options.connections < 1 ||
      options.answer->length > 1024 || header_lines(options.headers) == NULL ||
      (options.plain && !options.h2))
    usage();
}

int main(int argc, char** argv) {
  parse_options(argc, argv);
  signal(SIGPIPE, SIG_IGN);
  make_context();
  make_request();
  body = malloc(options.answer->length);
  fill_body(options.answer, body);
  int total = options.idle > options.connections ? options.idle : options.connections;
  conns = calloc((size_t)total, sizeof *conns);
  for (int i = 0; i < total; ++i) conns[i].fd = -1;
  epoll = epoll_create1(EPOLL_CLOEXEC);
  int64_t start = now = clock_now();
  deadline = start + (int64_t)(options.seconds * 1e9);
  if (options.idle > 0) {
    run_idle();
  } else {
    run_closed();
  }
  drain();
  double seconds = (double)(now - start) / 1e9;
  printf(
      "{\"requests\": %lu, \"errors\": %lu, \"reconnects\": %lu, \"resumed\": %lu, "
      "\"seconds\": %.3f, \"rps\": %.1f, \"bytes\": %lu, \"p50_us\": %.1f, \"p90_us\": %.1f, "
      "\"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f, \"first_error\": \"%s\"}\n",
      count.answered, count.errors, count.reconnects, count.resumed, seconds,
      (double)count.answered / seconds, count.bytes, histogram_at(&latency, 0.5) / 1e3,
      histogram_at(&latency, 0.9) / 1e3, histogram_at(&latency, 0.99) / 1e3,
      histogram_at(&latency, 0.999) / 1e3, (double)latency.max / 1e3,
      first_error == NULL ? "" : first_error);
  return count.errors > 0 ? 1 : 0;
}
