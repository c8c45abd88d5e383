// CrashHistory: what the process was using for the first time when it died, and how often in a row.
// A marker file says what is being tried; a process that finds one was preceded by one that died.
//
// Owner: StateStore. Thread: main. The marker is written in place and not forced to the disk: it
// survives a process, not a machine, whose end says nothing about a config.
//
//   CrashHistory history(folder, complain);
//   history.Open();                         // counts what the last process died with
//   history.Try({{.type = Type::kCluster, .name = "users", .digest = digest}});
//   history.Proven();
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "source/xds/saved_file.h"
#include "source/xds/state_folder.h"

namespace gatehouse::xds {

class CrashHistory {
 public:
  using Complain = std::function<void(std::string_view)>;

  // `folder` outlives it.
  CrashHistory(StateFolder& folder, int max_crashes, Complain complain);
  ~CrashHistory();
  CrashHistory(const CrashHistory&) = delete;
  CrashHistory& operator=(const CrashHistory&) = delete;

  // Reads what is there without touching it: the folder is another process's for now, which lives.
  void Look();
  // The folder is ours from the start: what was being tried has crashed. Before any Try().
  void Open();
  // The folder is ours from now on; Look() came before.
  void Own();
  // And no more: nothing is written again.
  void Disown() { ours_ = false; }

  void Try(std::vector<LoadAttempt> attempts);
  // What is tried now has served well. Crashes of what is not tried now are remembered.
  void Proven();
  [[nodiscard]] bool trying() const { return trying_ > 0; }

  // In a row; 0 also when it is unknown. Of a saved config: no type, no name.
  [[nodiscard]] int CrashesOf(std::optional<Type> type, std::string_view name,
                              std::string_view digest) const;
  // Something of this name has crashed, with whatever content: worth making a digest.
  [[nodiscard]] bool Knows(Type type, std::string_view name) const;
  // A saved config is out of the way.
  void ForgetConfig(std::string_view digest);

  // Resources that crashed too often.
  [[nodiscard]] std::vector<LoadAttempt> suspects() const;

 private:
  // The index of the type plus one; 0: a saved config.
  using Key = std::tuple<int, std::string, std::string>;
  struct Count {
    int crashes = 0;
    bool trying = false;
  };

  static Key KeyOf(std::optional<Type> type, std::string_view name, std::string_view digest);
  void ReadSuspects(bool may_change);
  void ReadMarker(bool count);
  void WriteMarker();
  void AddSuspects(const std::vector<LoadAttempt>& added);

  StateFolder& folder_;
  const int max_crashes_;
  Complain complain_;
  bool ours_ = false;
  std::map<Key, Count> counts_;
  size_t trying_ = 0;
  std::map<std::pair<Type, std::string>, LoadAttempt> suspects_;
  int marker_ = -1;  // its descriptor
  bool failing_ = false;
};

}  // namespace gatehouse::xds
