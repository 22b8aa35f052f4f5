#include "quantize/yaml.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <optional>
#include <sstream>

#include "squint/error.h"

namespace squint::quantize {
namespace {

constexpr size_t kMaxDepth = 32;
constexpr size_t kMaxItems = 4096;  // of one list or map

class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(std::string_view where) : where_(where) {}

  YamlNode take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (started_) refuse(mark, "a second document begins; expected one");
    started_ = true;
  }
  void OnDocumentEnd() override {}
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
    refuse(mark, "refers to an anchor; write out what it stands for");
  }
  void OnNull(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
    add({.line = mark.line + 1});
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t /*anchor*/,
                const std::string& value) override {
    expect_no_tag(mark, tag);
    add({.kind = YamlNode::Kind::scalar, .line = mark.line + 1, .text = value});
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t /*anchor*/,
                       YAML::EmitterStyle::value /*style*/) override {
    open(mark, tag, YamlNode::Kind::list);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t /*anchor*/,
                  YAML::EmitterStyle::value /*style*/) override {
    open(mark, tag, YamlNode::Kind::map);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    YamlNode node;
    std::optional<YamlNode> key;  // whose value comes next
  };

  [[noreturn]] void refuse(const YAML::Mark& mark, std::string_view what) const {
    refuse(mark.line + 1, what);
  }
  [[noreturn]] void refuse(int line, std::string_view what) const {
    throw Error(ErrorCode::bad_input, fmt::format("{} line {}: {}", where_, line, what));
  }

  // "?" is that of a plain scalar or none at all, "!" of a quoted one.
  void expect_no_tag(const YAML::Mark& mark, const std::string& tag) const {
    if (tag.empty() || tag == "?" || tag == "!") return;
    refuse(mark, fmt::format("has the tag \"{}\"; tags are not read", tag));
  }

  bool expects_key() const {
    return !open_.empty() && open_.back().node.kind == YamlNode::Kind::map && !open_.back().key;
  }

  void open(const YAML::Mark& mark, const std::string& tag, YamlNode::Kind kind) {
    expect_no_tag(mark, tag);
    if (expects_key()) refuse(mark, "expected a key, found a list or a map");
    if (open_.size() == kMaxDepth) refuse(mark, fmt::format("nested deeper than {}", kMaxDepth));
    open_.push_back({.node = {.kind = kind, .line = mark.line + 1}, .key = {}});
  }

  void close() {
    YamlNode done = std::move(open_.back().node);
    open_.pop_back();
    add(std::move(done));
  }

  void add(YamlNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = open_.back();
    if (expects_key()) {
      if (node.kind != YamlNode::Kind::scalar) refuse(node.line, "expected a key, found nothing");
      if (std::ranges::find(parent.node.items, node.text, &YamlNode::key) !=
          parent.node.items.end()) {
        refuse(node.line, fmt::format("\"{}\" stands here for the second time", node.text));
      }
      parent.key = std::move(node);
      return;
    }
    if (parent.key) {
      node.key = std::move(parent.key->text);
      node.line = parent.key->line;
      parent.key.reset();
    }
    if (parent.node.items.size() == kMaxItems) {
      refuse(node.line, fmt::format("more than {} entries", kMaxItems));
    }
    parent.node.items.push_back(std::move(node));
  }

  std::string_view where_;
  bool started_ = false;
  std::vector<Open> open_;
  YamlNode root_;
};

}  // namespace

YamlNode parse_yaml(std::string_view text, std::string_view where) {
  if (text.size() > static_cast<size_t>(kMaxYamlBytes)) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: {} bytes; expected at most {}", where,
                                                  text.size(), kMaxYamlBytes));
  }
  std::istringstream stream{std::string(text)};
  TreeBuilder builder(where);
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& e) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{} line {}: not valid YAML: {}", where, e.mark.line + 1, e.msg));
  }
  return builder.take();
}

}  // namespace squint::quantize
