// The headers of the generators' requests, and the clock they are timed by.
#pragma once

#include <stdint.h>
#include <string.h>
#include <time.h>

static inline int64_t clock_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

// NULL: there is no such set of headers.
static inline const char* header_lines(const char* name) {
  if (strcmp(name, "few") == 0) return "User-Agent: bench\r\nAccept: */*\r\n";
  if (strcmp(name, "browser") != 0) return NULL;
  return "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Firefox/115.0\r\n"
         "Accept: "
         "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
         "Accept-Language: en-US,en;q=0.8,de-DE;q=0.5,de;q=0.3\r\n"
         "Accept-Encoding: gzip, deflate, br\r\n"
         "Referer: https://shop.example/products/overview?page=3&sort=price\r\n"
         "Cookie: session=4f1c9d0a7be24c55a1e6d3b84f1c9d0a7be24c55; theme=dark; "
         "consent=analytics%3Dno; "
         "_ga=GA1.2.1234567890.1700000000\r\n"
         "Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\n"
         "Cache-Control: no-cache\r\nPragma: no-cache\r\n";
}
