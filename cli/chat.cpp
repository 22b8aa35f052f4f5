#include "chat.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "answer_stats.h"
#include "line_editor.h"
#include "squint/error.h"
#include "terminal.h"

namespace squint::cli {
namespace {

constexpr std::string_view kHelp =
    "/image FILE   show an image with the next question; several are possible\n"
    "/reset        forget the conversation and begin a new one\n"
    "/help         these lines\n"
    "/quit         leave, as Ctrl-D does\n"
    "A line that ends in \\ continues on the next. Ctrl-C stops an answer or drops a line.\n";

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// As a shell would take it: quotes around a name with blanks, ~ for the home folder.
std::filesystem::path file_of(std::string_view name) {
  if (name.size() >= 2 && (name.front() == '"' || name.front() == '\'') &&
      name.back() == name.front()) {
    name = name.substr(1, name.size() - 2);
  }
  const char* home = std::getenv("HOME");
  if (home != nullptr && name.starts_with("~/")) {
    return std::filesystem::path(home) / name.substr(2);
  }
  return name;
}

void note(const std::string& text) {
  const bool color = use_color();
  fmt::print("{}{}{}\n", color ? "\x1b[2m" : "", text, color ? "\x1b[0m" : "");
  std::fflush(stdout);
}

class Chat {
 public:
  Chat(Engine& engine, const ChatSetup& setup, Outcome& outcome)
      : engine_(engine),
        setup_(setup),
        outcome_(outcome),
        request_(setup.start),
        images_(setup.images) {}

  void run() {
    note("Ask something; /help lists commands, Ctrl-D leaves.");
    while (true) {
      outcome_.stop = outcome_.renew_stop();
      const LineEditor::Line line = next_question();
      switch (line.ending) {
        case LineEditor::Ending::line:
          break;
        case LineEditor::Ending::discarded:
          fmt::print("\n");
          if (outcome_.renew_stop().stop_requested()) return leave_interrupted();
          continue;
        case LineEditor::Ending::end:
          fmt::print("\n");
          return;
        case LineEditor::Ending::stopped:
          fmt::print("\n");
          return leave_interrupted();
      }
      const std::string_view text = trimmed(line.text);
      if (text == "/quit" || text == "/exit") return;
      if (text.starts_with('/')) {
        command(text);
      } else if (!text.empty()) {
        ask(std::string(text));
      }
    }
  }

 private:
  void leave_interrupted() { outcome_.exit_code = interrupted; }

  LineEditor::Line next_question() {
    LineEditor::Line whole = editor_.read("> ", outcome_.stop);
    while (whole.ending == LineEditor::Ending::line && whole.text.ends_with('\\')) {
      whole.text.back() = '\n';
      LineEditor::Line more = editor_.read(". ", outcome_.stop);
      if (more.ending == LineEditor::Ending::stopped) more.ending = LineEditor::Ending::discarded;
      whole.ending = more.ending;
      whole.text += more.text;
    }
    return whole;
  }

  void command(std::string_view text) {
    const size_t blank = text.find_first_of(" \t");
    const std::string_view name = text.substr(0, blank);
    const std::string_view rest = blank == text.npos ? "" : trimmed(text.substr(blank));
    if (name == "/image") {
      add_image(rest);
    } else if (name == "/reset") {
      request_ = setup_.start;
      images_.clear();
      note("A new conversation.");
    } else if (name == "/help") {
      fmt::print("{}", kHelp);
    } else {
      note(fmt::format("{}: no such command; /help lists them.", name));
    }
  }

  void add_image(std::string_view name) {
    const std::filesystem::path path = file_of(name);
    std::error_code ignored;
    if (name.empty()) {
      note("/image: expected the name of a file, as in: /image scan.png");
    } else if (!std::filesystem::is_regular_file(path, ignored)) {
      note(fmt::format("{}: no such file.", path.string()));
    } else {
      images_.push_back({.path = path});
      note(fmt::format("{} with the next question.", path.filename().string()));
    }
  }

  void ask(std::string text) {
    request_.turns.push_back({.text = std::move(text), .images = images_});
    std::string said;
    const auto print = [&](const std::string& piece) {
      said += piece;
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      std::fflush(stdout);
    };
    try {
      const Completion done = engine_.generate(request_, print, outcome_.stop);
      fmt::print("\n");
      if (done.finish == FinishReason::length) note("(cut off; see --max-tokens)");
      if (setup_.stats) fmt::print(stderr, "{}", stats_text(done, engine_.weight_bytes()));
    } catch (const Error& e) {
      if (e.code() == ErrorCode::interrupted) {
        fmt::print("\n");
        note("(stopped)");
      } else if (e.code() == ErrorCode::out_of_memory) {
        throw;
      } else {
        said.clear();
        fmt::print(stderr, "error: {}\n", e.what());
        note("The question is not part of the conversation; its images are dropped.");
      }
    }
    images_.clear();
    if (said.empty()) {
      request_.turns.pop_back();
    } else {
      request_.turns.push_back({.role = "assistant", .text = said});
    }
  }

  Engine& engine_;
  const ChatSetup& setup_;
  Outcome& outcome_;
  Request request_;
  std::vector<ImageInput> images_;
  LineEditor editor_;
};

}  // namespace

void chat(Engine& engine, const ChatSetup& setup, Outcome& outcome) {
  Chat(engine, setup, outcome).run();
}

}  // namespace squint::cli
