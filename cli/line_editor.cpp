#include "line_editor.h"

#include <histedit.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cwchar>
#include <string>

#include "standard_input.h"

namespace squint::cli {
namespace {

constexpr int kHistoryLines = 1000;

// What is typed is UTF-8, also where a container sets no locale.
void use_utf8() {
  std::setlocale(LC_CTYPE, "");
  if (MB_CUR_MAX == 1) std::setlocale(LC_CTYPE, "C.UTF-8");
}

}  // namespace

class LineEditor::Impl {
 public:
  Impl() {
    use_utf8();
    editor_ = el_init("squint", stdin, stdout, stderr);
    history_ = history_init();
    HistEvent event{};
    history(history_, &event, H_SETSIZE, kHistoryLines);
    history(history_, &event, H_SETUNIQUE, 1);
    el_set(editor_, EL_CLIENTDATA, this);
    el_set(editor_, EL_PROMPT, &Impl::prompt_of);
    el_set(editor_, EL_EDITOR, "emacs");
    el_set(editor_, EL_HIST, history, history_);
    el_set(editor_, EL_SIGNAL, 0);  // a thread takes them: see interrupt.h
    el_set(editor_, EL_GETCFN, &Impl::next_character);
  }
  ~Impl() {
    history_end(history_);
    el_end(editor_);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Line read(const std::string& prompt, const std::stop_token& stop) {
    prompt_ = prompt;
    stop_ = &stop;
    typed_ = false;
    int count = 0;
    const char* got = el_gets(editor_, &count);
    stop_ = nullptr;
    if (stop.stop_requested()) {
      el_reset(editor_);
      return {typed_ ? Ending::discarded : Ending::stopped, ""};
    }
    if (got == nullptr || count <= 0) return {Ending::end, ""};
    std::string text(got, static_cast<size_t>(count));
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
    if (text.find_first_not_of(" \t") != text.npos) {
      HistEvent event{};
      history(history_, &event, H_ENTER, text.c_str());
    }
    return {Ending::line, std::move(text)};
  }

 private:
  static Impl& of(EditLine* editor) {
    void* self = nullptr;
    el_get(editor, EL_CLIENTDATA, &self);
    return *static_cast<Impl*>(self);
  }
  static char* prompt_of(EditLine* editor) { return of(editor).prompt_.data(); }

  // One character of UTF-8, as libedit asks for it; 0 at the end or when asked to stop.
  static int next_character(EditLine* editor, wchar_t* out) {
    Impl& self = of(editor);
    std::mbstate_t state{};
    while (true) {
      char byte = 0;
      if (!wait_for_input(*self.stop_)) {
        const LineInfo* line = el_line(editor);
        self.typed_ = line->lastchar > line->buffer;
        return 0;
      }
      if (::read(STDIN_FILENO, &byte, 1) != 1) return 0;
      const size_t used = std::mbrtowc(out, &byte, 1, &state);
      if (used == static_cast<size_t>(-2)) continue;  // more bytes belong to it
      if (used == static_cast<size_t>(-1)) {          // not UTF-8: left out
        state = {};
        continue;
      }
      if (used == 0) *out = L'\0';
      return 1;
    }
  }

  EditLine* editor_ = nullptr;
  History* history_ = nullptr;
  std::string prompt_;
  const std::stop_token* stop_ = nullptr;
  bool typed_ = false;
};

LineEditor::LineEditor() : impl_(std::make_unique<Impl>()) {}
LineEditor::~LineEditor() = default;
LineEditor::Line LineEditor::read(const std::string& prompt, const std::stop_token& stop) {
  return impl_->read(prompt, stop);
}

}  // namespace squint::cli
