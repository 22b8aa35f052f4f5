// fake_hub.h: one repository as Hugging Face and as ModelScope would serve it, and the content
// server that both redirect to, on the loopback.
//
// Files marked large come from the content server, others from the hub itself. Both servers know
// ranges. A test may alter every reply, and sees every request with its headers.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "hub/repository.h"
#include "support/fake_server.h"

namespace squint::test {

inline constexpr const char* kFakeId = "acme/tiny";
inline constexpr const char* kFakeCommit = "0123456789abcdef0123456789abcdef01234567";

struct FakeFile {
  std::string content;
  bool large = true;
  std::string listed_digest{};  // empty: that of the content
};

class FakeHub {
 public:
  using Alter = std::function<void(const FakeRequest&, FakeReply&)>;

  FakeHub();

  // What it has; set before the first request.
  std::map<std::string, FakeFile> files;
  size_t page_size = 1000;  // of Hugging Face's listing
  Alter alter_hub;          // every reply of the hub, and of the content server
  Alter alter_content;

  std::string url() const { return hub_.url(); }
  std::string content_url() const { return content_.url(); }
  std::vector<FakeRequest> hub_requests() const { return hub_.requests(); }
  std::vector<FakeRequest> content_requests() const { return content_.requests(); }

 private:
  FakeReply answer(const FakeRequest& request) const;
  FakeReply answer_hugging_face(const std::string& rest, const FakeRequest& request) const;
  FakeReply answer_modelscope(const std::string& rest, const FakeRequest& request) const;
  FakeReply tree(const FakeRequest& request) const;
  FakeReply redirect(const std::string& path) const;

  std::mutex mutex_;  // around both servers' answers
  FakeServer content_;
  FakeServer hub_;
};

// The part of `content` that a request asks for, or all of it.
FakeReply content_reply(const FakeRequest& request, const std::string& content);

// Alters the first `times` replies whose path holds `part`, or those from number `begin` up to
// `end`. Servers may still answer when a test has failed or ended: `change` must own what it uses.
FakeHub::Alter first(int times, std::string part, std::function<void(FakeReply&)> change);
FakeHub::Alter between(int begin, int end, std::string part,
                       std::function<void(FakeReply&)> change);

// The same bytes for the same seed.
std::string bytes_of(uint64_t seed, size_t size);

std::string digest_of(hub::DigestKind kind, const std::string& content);

}  // namespace squint::test
