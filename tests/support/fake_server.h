// fake_server.h: a small HTTP/1.1 server on the loopback that answers what a test says, wholly or
// not.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace squint::test {

struct FakeRequest {
  std::string target;                          // path and query as they came
  std::string path;                            // decoded
  std::map<std::string, std::string> query;    // decoded
  std::map<std::string, std::string> headers;  // names in lower case
};

struct FakeReply {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers{};
  std::string body{};
  std::optional<int64_t> claimed_length{};  // another Content-Length than the body's
  int64_t cut_after = -1;                   // the connection ends after so many bytes of the body
  int64_t stall_after = -1;                 // nothing comes after them
  std::chrono::milliseconds drip{0};        // between one byte and the next
};

class FakeServer {
 public:
  // `answer` runs on the threads of the connections, one at a time.
  explicit FakeServer(std::function<FakeReply(const FakeRequest&)> answer);
  ~FakeServer();
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  std::string url() const;  // "http://127.0.0.1:PORT"
  std::vector<FakeRequest> requests() const;

 private:
  void accept_all();
  void serve(int socket);
  bool answer_one(int socket, std::string& received);
  bool send_reply(int socket, const FakeReply& reply);
  bool sleep(std::chrono::milliseconds duration);

  std::function<FakeReply(const FakeRequest&)> answer_;
  int listener_ = -1;
  int port_ = 0;
  mutable std::mutex mutex_;
  std::condition_variable stopping_;
  bool stop_ = false;
  std::vector<FakeRequest> requests_;
  std::list<int> sockets_;
  std::list<std::thread> connections_;
  std::thread acceptor_;
};

}  // namespace squint::test
