// origin PORT: the benchmark's upstream server. One thread, epoll, HTTP/1.1 keep-alive, answers
// that are made once at the start; a request costs one read and one write, so that it is the proxy
// which is measured. Understands Content-Length bodies only; what it does not understand gets a
// 400.
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>

#include "common.h"

enum { kBufferSize = 256 << 10, kHeadLimit = 16 << 10, kEmptyPolls = 2000 };

struct reply {
  char* bytes;
  size_t length;
};

struct conn {
  int fd;
  bool close_after;
  size_t skip;           // bytes of a request body still to come
  struct reply* answer;  // answer of the request whose body is being read
  const char* out;       // rest of an answer that the socket did not take
  size_t out_length;
  char* partial;  // start of a request head that came in pieces
  size_t partial_length;
};

static struct reply replies[2][kAnswerCount];  // [1]: with `Connection: close`
static struct reply bad_request;
static char buffer[kBufferSize];

static void make_replies(void) {
  for (int n = 0; n < 2 * kAnswerCount; ++n) {
    int i = n / 2, closing = n % 2;
    const struct answer* answer = &kAnswers[i];
    char* bytes = malloc(answer->length + 512);
    int head =
        sprintf(bytes,
                "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
                "Content-Type: %s\r\nContent-Length: %zu\r\n%s\r\n",
                answer->type, answer->length, closing ? "Connection: close\r\n" : "");
    fill_body(answer, bytes + head);
    replies[closing][i] = (struct reply){bytes, (size_t)head + answer->length};
  }
  static char bad[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
  bad_request = (struct reply){bad, sizeof bad - 1};
}

static void close_conn(struct conn* c) {
  close(c->fd);
  free(c->partial);
  free(c);
}

// False: the connection is gone.
static bool write_out(struct conn* c) {
  while (c->out_length > 0) {
    ssize_t n = send(c->fd, c->out, c->out_length, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EAGAIN) return true;
      close_conn(c);
      return false;
    }
    c->out += n;
    c->out_length -= (size_t)n;
  }
  if (!c->close_after) return true;
  close_conn(c);
  return false;
}

static bool answer_with(struct conn* c, struct reply* reply) {
  c->out = reply->bytes;
  c->out_length = reply->length;
  return write_out(c);
}

static struct reply* choose(const char* head, size_t length, bool closing, size_t* body) {
  const char* path = memchr(head, ' ', length);
  const char* end = path == NULL ? NULL : memchr(path + 1, ' ', length - (size_t)(path + 1 - head));
  if (end == NULL) return &bad_request;
  const struct answer* answer = find_answer(path + 1, (size_t)(end - path - 1));
  if (answer == NULL) return &bad_request;
  bool post = head[0] == 'P';
  *body = content_length(head, length, post ? SIZE_MAX : 0);
  return *body == SIZE_MAX ? &bad_request : &replies[closing][answer - kAnswers];
}

static bool has_close(const char* head, size_t length) {
  return memmem(head, length, "\r\nConnection: close\r\n", 21) != NULL ||
         memmem(head, length, "\r\nconnection: close\r\n", 21) != NULL;
}

// Takes what was read; false: the connection is gone.
static bool take(struct conn* c, const char* data, size_t length) {
  while (length > 0) {
    if (c->skip > 0) {
      size_t n = length < c->skip ? length : c->skip;
      c->skip -= n;
      data += n;
      length -= n;
      if (c->skip == 0 && !answer_with(c, c->answer)) return false;
      continue;
    }
    if (c->out_length > 0) return close_conn(c), false;  // pipelined behind a slow answer
    size_t head = head_length(data, length);
    if (head == 0) {
      if (length > kHeadLimit) return close_conn(c), false;
      c->partial = realloc(c->partial, length);
      memcpy(c->partial, data, length);
      c->partial_length = length;
      return true;
    }
    c->close_after = has_close(data, head);
    c->answer = choose(data, head, c->close_after, &c->skip);
    if (c->answer == &bad_request) {
      c->skip = 0;
      c->close_after = true;
    }
    if (c->skip == 0 && !answer_with(c, c->answer)) return false;
    data += head;
    length -= head;
  }
  return true;
}

static void on_event(struct conn* c, uint32_t events) {
  if (c->out_length > 0 && (!write_out(c) || c->out_length > 0)) return;
  for (;;) {
    size_t kept = c->partial_length;
    if (kept > 0) memcpy(buffer, c->partial, kept);
    c->partial_length = 0;
    ssize_t n = recv(c->fd, buffer + kept, kBufferSize - kept, 0);
    if (n < 0 && errno == EAGAIN) {
      c->partial_length = kept;
      return;
    }
    if (n <= 0) return close_conn(c);
    if (!take(c, buffer, kept + (size_t)n)) return;
    // A short read emptied the socket; a hang-up must still be read.
    if (kept + (size_t)n < kBufferSize && !(events & (EPOLLRDHUP | EPOLLHUP))) return;
  }
}

static void accept_all(int epoll, int listener) {
  int fd;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    no_delay(fd);
    struct conn* c = calloc(1, sizeof *c);
    c->fd = fd;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
  }
}

int main(int argc, char** argv) {
  if (argc != 2) return fprintf(stderr, "usage: origin PORT\n"), 2;
  signal(SIGPIPE, SIG_IGN);
  make_replies();
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
