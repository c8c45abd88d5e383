// What the process has to say on stderr while it serves. Who reads it may be stuck (a full pipe),
// which must not stop main: signals, admin and DNS wait for nobody. What finds no room is lost.
//
// Plain functions; main thread.
//
//   Say("SIGHUP: loaded");          // gatehouse: SIGHUP: loaded
//   Tell(errors.ToString());        // as it is
#pragma once

#include <cstddef>
#include <string_view>

namespace gatehouse::server {

// One line, whatever is in it: names and messages come from control planes, which must not be able
// to write lines of their own or to speak to a terminal.
void Say(std::string_view line);
void Tell(std::string_view text);

// Writes until it is all out or the other end takes nothing for a tenth of a second. Returns how
// much is out.
[[nodiscard]] size_t WriteWithPatience(int fd, std::string_view text);

}  // namespace gatehouse::server
