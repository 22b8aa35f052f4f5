// line_editor.h: lines that a person types, with arrow keys and history.
#pragma once

#include <memory>
#include <stop_token>
#include <string>

namespace squint::cli {

// On standard input and output, which are a terminal. One at a time.
class LineEditor {
 public:
  LineEditor();
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  enum class Ending {
    line,       // Enter
    end,        // Ctrl-D, or the terminal is gone
    discarded,  // asked to stop, while something had been typed: Ctrl-C drops it
    stopped,    // asked to stop with nothing typed
  };
  struct Line {
    Ending ending = Ending::end;
    std::string text;  // without its newline; only where it ended with Enter
  };
  // Lines that are not blank go into the history, which ends with the editor.
  Line read(const std::string& prompt, const std::stop_token& stop);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace squint::cli
