// The messages that the benchmarks of this folder parse and write.
#pragma once

#include <string_view>

namespace gatehouse::http {

inline constexpr std::string_view kSmallRequest =
    "GET /small HTTP/1.1\r\n"
    "Host: bench.example.com\r\n"
    "User-Agent: bench/1.0\r\n"
    "Accept: */*\r\n"
    "\r\n";

inline constexpr std::string_view kBrowserRequest =
    "GET /api/v1/items?page=2&sort=name HTTP/1.1\r\n"
    "Host: bench.example.com\r\n"
    "Connection: keep-alive\r\n"
    "Cache-Control: max-age=0\r\n"
    "sec-ch-ua: \"Chromium\";v=\"124\", \"Not-A.Brand\";v=\"99\"\r\n"
    "sec-ch-ua-mobile: ?0\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/124.0.0.0 Safari/537.36\r\n"
    "Accept: application/json,text/html;q=0.9,*/*;q=0.8\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n"
    "Referer: https://bench.example.com/items\r\n"
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes\r\n"
    "X-Custom-Client: web-frontend 4.17.2\r\n"
    "\r\n";

inline constexpr std::string_view kJsonResponse =
    "HTTP/1.1 200 OK\r\n"
    "Server: origin\r\n"
    "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    "Content-Type: application/json; charset=utf-8\r\n"
    "Content-Length: 1024\r\n"
    "Cache-Control: no-cache\r\n"
    "ETag: \"0123456789abcdef\"\r\n"
    "\r\n";

}  // namespace gatehouse::http
