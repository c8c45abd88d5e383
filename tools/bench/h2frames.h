// The few bytes of HTTP/2 that the benchmark's programs write and read themselves (RFC 9113), and
// the message of grpc_unary.
#pragma once

#include <stdint.h>
#include <string.h>

enum { kFrameHeader = 9, kMaxFrame = 16384 };
enum { kData, kHeaders, kPriority, kResetStream, kSettings, kPush, kPing, kGoAway, kWindowUpdate };
enum { kEndStream = 1, kAck = 1, kEndHeaders = 4 };
// Bytes of a gRPC message, its prefix of five included.
enum { kGrpcRequest = 64, kGrpcAnswer = 128 };

static const char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

struct frame {
  uint8_t type, flags;
  uint32_t id;
  size_t length;
  const uint8_t* payload;
};

static inline uint32_t get16(const uint8_t* at) { return (uint32_t)at[0] << 8 | at[1]; }
static inline uint32_t get32(const uint8_t* at) { return get16(at) << 16 | get16(at + 2); }

static inline void put32(char* out, uint32_t value) {
  for (int i = 0; i < 4; ++i) out[i] = (char)(value >> (24 - 8 * i));
}

static inline void put_frame(char* out, size_t length, uint8_t type, uint8_t flags, uint32_t id) {
  out[0] = (char)(length >> 16);
  out[1] = (char)(length >> 8);
  out[2] = (char)length;
  out[3] = (char)type;
  out[4] = (char)flags;
  put32(out + 5, id);
}

// Bytes of the frame at the front of `data`, 0 when it is not complete.
static inline size_t next_frame(const char* data, size_t length, struct frame* frame) {
  const uint8_t* at = (const uint8_t*)data;
  if (length < kFrameHeader) return 0;
  frame->length = (size_t)at[0] << 16 | get16(at + 1);
  if (length < kFrameHeader + frame->length) return 0;
  frame->type = at[3];
  frame->flags = at[4];
  frame->id = get32(at + 5) & 0x7fffffff;
  frame->payload = at + kFrameHeader;
  return kFrameHeader + frame->length;
}

static inline void fill_grpc(char* out, uint32_t length) {
  out[0] = 0;  // not compressed
  put32(out + 1, length - 5);
  memset(out + 5, 'u', length - 5);
}
