// ConnectWithoutAck: a client's connection whose handshake the server has not seen the end of.
//
// Owner: the caller owns the descriptor. Thread: any. The client's system is connected and has
// answered the server's SYN with nothing yet; what it sends first brings the rest of the handshake.
// By itself the system sends that after 200 ms.
//
//   const int fd = ConnectWithoutAck(address);
//   send(fd, "hello", 5, 0);  // only now the server has a connection
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <gtest/gtest.h>

#include "source/net/address.h"

namespace gatehouse {

[[nodiscard]] inline int ConnectWithoutAck(const net::Address& address) {
  const int fd = socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int off = 0;
  // The ACK waits for data to travel with (tcp(7), TCP_QUICKACK).
  EXPECT_EQ(setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &off, sizeof(off)), 0);
  EXPECT_EQ(connect(fd, address.raw(), address.raw_size()), 0);
  return fd;
}

}  // namespace gatehouse
