#include "support/fake_server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <stdexcept>
#include <string_view>

namespace squint::test {
namespace {

std::string decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      out += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::map<std::string, std::string> query_of(std::string_view text) {
  std::map<std::string, std::string> out;
  while (!text.empty()) {
    const std::string_view pair = text.substr(0, text.find('&'));
    const size_t equals = std::min(pair.find('='), pair.size());
    out[decoded(pair.substr(0, equals))] =
        equals < pair.size() ? decoded(pair.substr(equals + 1)) : "";
    text.remove_prefix(std::min(pair.size() + 1, text.size()));
  }
  return out;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

FakeRequest parse(std::string_view head) {
  FakeRequest request;
  const std::string_view line = head.substr(0, head.find("\r\n"));
  const size_t begin = line.find(' ') + 1;
  request.target = line.substr(begin, line.rfind(' ') - begin);
  const size_t mark = std::min(request.target.find('?'), request.target.size());
  request.path = decoded(std::string_view(request.target).substr(0, mark));
  if (mark < request.target.size()) {
    request.query = query_of(std::string_view(request.target).substr(mark + 1));
  }
  head.remove_prefix(line.size() + 2);
  while (!head.empty()) {
    const std::string_view header = head.substr(0, head.find("\r\n"));
    const size_t colon = header.find(": ");
    if (colon != std::string_view::npos) {
      request.headers[lower(header.substr(0, colon))] = header.substr(colon + 2);
    }
    head.remove_prefix(std::min(header.size() + 2, head.size()));
  }
  return request;
}

bool send_all(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

std::string head_of(const FakeReply& reply) {
  std::string head = fmt::format("HTTP/1.1 {} Fake\r\n", reply.status);
  for (const auto& [name, value] : reply.headers) head += name + ": " + value + "\r\n";
  const auto size = static_cast<int64_t>(reply.body.size());
  return head + fmt::format("Content-Length: {}\r\n\r\n", reply.claimed_length.value_or(size));
}

}  // namespace

FakeServer::FakeServer(std::function<FakeReply(const FakeRequest&)> answer)
    : answer_(std::move(answer)) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener_, generic, size) != 0 || ::listen(listener_, 64) != 0 ||
      ::getsockname(listener_, generic, &size) != 0) {
    throw std::runtime_error("no port on the loopback for a test's server");
  }
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_all(); });
}

FakeServer::~FakeServer() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    for (const int socket : sockets_) ::shutdown(socket, SHUT_RDWR);
  }
  stopping_.notify_all();
  ::shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  ::close(listener_);
  for (std::thread& connection : connections_) connection.join();
}

std::string FakeServer::url() const { return fmt::format("http://127.0.0.1:{}", port_); }

std::vector<FakeRequest> FakeServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

void FakeServer::accept_all() {
  for (;;) {
    const int socket = ::accept(listener_, nullptr, nullptr);
    if (socket < 0) return;
    const int on = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    const std::lock_guard lock(mutex_);
    if (stop_) {
      ::close(socket);
      return;
    }
    sockets_.push_back(socket);
    connections_.emplace_back([this, socket] { serve(socket); });
  }
}

void FakeServer::serve(int socket) {
  std::string received;
  while (answer_one(socket, received)) {
  }
  const std::lock_guard lock(mutex_);
  sockets_.remove(socket);
  ::close(socket);
}

bool FakeServer::answer_one(int socket, std::string& received) {
  size_t end = 0;
  while ((end = received.find("\r\n\r\n")) == std::string::npos) {
    char buffer[4096];
    const ssize_t got = ::recv(socket, buffer, sizeof(buffer), 0);
    if (got <= 0) return false;
    received.append(buffer, static_cast<size_t>(got));
  }
  const FakeRequest request = parse(std::string_view(received).substr(0, end + 2));
  received.erase(0, end + 4);
  FakeReply reply;
  {
    const std::lock_guard lock(mutex_);
    requests_.push_back(request);
    reply = answer_(request);
  }
  return send_reply(socket, reply);
}

bool FakeServer::send_reply(int socket, const FakeReply& reply) {
  if (!send_all(socket, head_of(reply))) return false;
  std::string_view body = reply.body;
  if (reply.cut_after >= 0) {
    send_all(socket, body.substr(0, static_cast<size_t>(reply.cut_after)));
    return false;
  }
  if (reply.stall_after >= 0) {
    send_all(socket, body.substr(0, static_cast<size_t>(reply.stall_after)));
    sleep(std::chrono::minutes(1));
    return false;
  }
  if (reply.drip.count() == 0) return send_all(socket, body);
  for (; !body.empty(); body.remove_prefix(1)) {
    if (!send_all(socket, body.substr(0, 1)) || !sleep(reply.drip)) return false;
  }
  return true;
}

// False where the server is to end.
bool FakeServer::sleep(std::chrono::milliseconds duration) {
  std::unique_lock lock(mutex_);
  return !stopping_.wait_for(lock, duration, [&] { return stop_; });
}

}  // namespace squint::test
