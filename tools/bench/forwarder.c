// forwarder LISTEN_PORT ORIGIN_PORT [BUFFER_KIB]: the lower bound of every table, what the kernel
// costs for a proxied request. Epoll, one read and one write per direction, a pool of upstream
// connections, nothing re-armed, no malloc per request. It finds where messages end (Content-Length
// only, a head must come in one read, no pipelining) and understands nothing else: a client that
// asks for `Connection: close` gets its own connection closed and the pooled one kept.
#define _GNU_SOURCE
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>

#include "common.h"

struct conn {
  int fd;
  bool upstream, closed;
  bool close_after;   // client: close when its answer has been sent
  bool paused;        // not read: the other side has not taken what was read before
  struct conn* peer;  // the other side while a request is under way
  struct conn* next;  // in the pool, or among the dead
  size_t left;        // bytes of the current message still to come
  char* held;         // bytes that this side's socket did not take
  size_t held_length;
};

static int epoll, origin_port;
static size_t buffer_size = 64 << 10;
static char* buffer;
static struct conn *pool, *dead;

static struct conn* add_conn(int fd, bool upstream) {
  struct conn* c = calloc(1, sizeof *c);
  c->fd = fd;
  c->upstream = upstream;
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
  return c;
}

// The memory stays until the end of the turn: a later event of the same turn may name it.
static void close_conn(struct conn* c) {
  if (c->closed) return;
  for (struct conn** p = &pool; c->upstream && *p != NULL; p = &(*p)->next) {
    if (*p != c) continue;
    *p = c->next;
    break;
  }
  close(c->fd);
  c->closed = true;
  c->next = dead;
  dead = c;
  struct conn* peer = c->peer;
  c->peer = NULL;
  if (peer != NULL) {
    peer->peer = NULL;
    close_conn(peer);
  }
}

static struct conn* lease(void) {
  struct conn* c = pool;
  if (c != NULL) {
    pool = c->next;
    return c;
  }
  int fd = connect_to(origin_port);
  return fd < 0 ? NULL : add_conn(fd, true);
}

static void finish(struct conn* client, struct conn* upstream) {
  client->peer = upstream->peer = NULL;
  upstream->next = pool;
  pool = upstream;
  if (client->close_after) close_conn(client);
}

// Message start: finds its length. False: not something that this program understands.
static bool start_message(struct conn* c, char* data, size_t length) {
  size_t head = head_length(data, length);
  if (head == 0) return false;
  c->left = head + content_length(data, head, 0);
  if (c->upstream) return true;
  if (c->peer != NULL) return false;
  char* close_header = memmem(data, head, "\r\nConnection: close", 19);
  if (close_header != NULL) memset(close_header + 14, ' ', 5);
  c->close_after = close_header != NULL;
  c->peer = lease();
  if (c->peer == NULL) return false;
  c->peer->peer = c;
  return true;
}

// Sends to `to`, holds what it does not take; false: it is broken.
static bool pass(struct conn* to, const char* data, size_t length) {
  ssize_t n = send(to->fd, data, length, MSG_NOSIGNAL);
  if (n < 0) n = errno == EAGAIN ? 0 : -1;
  if (n < 0) return false;
  if ((size_t)n == length) return true;
  to->held = malloc(length - (size_t)n);
  to->held_length = length - (size_t)n;
  memcpy(to->held, data + n, to->held_length);
  return true;
}

static void on_readable(struct conn* c, bool hung_up) {
  while (!c->closed && !c->paused) {
    ssize_t n = recv(c->fd, buffer, buffer_size, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return close_conn(c);
    if (c->upstream && c->peer == NULL) return close_conn(c);
    if (c->left == 0 && !start_message(c, buffer, (size_t)n)) return close_conn(c);
    if ((size_t)n > c->left) return close_conn(c);
    struct conn* to = c->peer;
    c->left -= (size_t)n;
    if (!pass(to, buffer, (size_t)n)) return close_conn(c);
    if (to->held_length > 0) {
      c->paused = true;
    } else if (c->upstream && c->left == 0) {
      finish(to, c);
    }
    if ((size_t)n < buffer_size && !hung_up) return;  // a short read emptied the socket
  }
}

static void on_writable(struct conn* c) {
  char* held = c->held;
  size_t length = c->held_length;
  c->held = NULL;
  c->held_length = 0;
  bool sent = pass(c, held, length);
  free(held);
  if (!sent) return close_conn(c);
  struct conn* from = c->peer;
  if (c->held_length > 0 || from == NULL) return;
  from->paused = false;
  if (from->upstream && from->left == 0) return finish(c, from);
  on_readable(from, true);  // an edge may have passed meanwhile: read until EAGAIN
}

static void bury(void) {
  while (dead != NULL) {
    struct conn* c = dead;
    dead = c->next;
    free(c->held);
    free(c);
  }
}

int main(int argc, char** argv) {
  if (argc < 3)
    return fprintf(stderr, "usage: forwarder LISTEN_PORT ORIGIN_PORT [BUFFER_KIB]\n"), 2;
  signal(SIGPIPE, SIG_IGN);
  origin_port = atoi(argv[2]);
  if (argc > 3) buffer_size = strtoul(argv[3], NULL, 10) << 10;
  buffer = malloc(buffer_size);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  int listener = listen_on(atoi(argv[1]));
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    struct epoll_event events[256];
    int n = epoll_wait(epoll, events, 256, -1);
    for (int i = 0; i < n; ++i) {
      struct conn* c = events[i].data.ptr;
      if (c == NULL) {
        int fd;
        while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
          no_delay(fd);
          add_conn(fd, false);
        }
        continue;
      }
      if (!c->closed && c->held_length > 0) on_writable(c);
      if (events[i].events & EPOLLIN) on_readable(c, events[i].events & (EPOLLRDHUP | EPOLLHUP));
    }
    bury();
  }
}
