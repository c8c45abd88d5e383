// LogSink: the file, pipe, socket or terminal that log lines end in, written without blocking where
// the kernel allows it.
//
// Owner: LogThread. Thread: opened on main, then used by the log thread alone.
//
//   LogSink sink;
//   int error = sink.Open("/var/log/access.log");          // 0, or an errno value
//   LogSink::Result result = sink.Write(text);              // may be short
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace gatehouse::observe {

class LogSink {
 public:
  struct Result {
    size_t written = 0;
    int error = 0;  // an errno value, also after a short write; EAGAIN: it would block
  };

  LogSink() = default;
  ~LogSink() { Close(); }
  LogSink(const LogSink&) = delete;
  LogSink& operator=(const LogSink&) = delete;

  // Opens `path` ("stdout" and "stderr" are those), in place of what is open; that stays open when
  // this fails. A regular file is appended to and made when absent.
  [[nodiscard]] int Open(const std::string& path);
  // True when the path leads to another file than the one that is open, or to none.
  [[nodiscard]] bool PathMoved(const std::string& path) const;
  // Writes until all is written, an error, or until it would block.
  [[nodiscard]] Result Write(std::string_view text);
  // The half line that the file ends in is ours, and what is written next continues it.
  void ContinueLine() { end_line_first_ = false; }
  void Swap(LogSink& other);
  void Close();

  [[nodiscard]] bool is_open() const { return fd_ >= 0; }
  [[nodiscard]] int fd() const { return fd_; }

 private:
  enum class Kind {
    kFile,         // blocks as long as the disk does
    kNonblocking,  // says EAGAIN
    kSocket,       // shared with others: asked not to block call by call
    kGuarded,      // shared and may block: written in pieces that fit when poll says so
  };
  [[nodiscard]] int OpenStream(int stream);
  [[nodiscard]] Result WriteOnce(std::string_view text) const;
  void Adopt(int fd, Kind kind);
  [[nodiscard]] bool EndsInHalfALine(const std::string& path) const;

  int fd_ = -1;
  Kind kind_ = Kind::kFile;
  bool end_line_first_ = false;  // the file ends in half a line of somebody before us
};

}  // namespace gatehouse::observe
