// chat.h: a conversation on a terminal, question by question.
#pragma once

#include "command.h"
#include "squint/engine.h"

namespace squint::cli {

struct ChatSetup {
  // Sampling, limits and, where there is one, a system turn: what every question begins with.
  Request start;
  std::vector<ImageInput> images;  // shown with the first question
  bool stats = false;              // after every answer, on standard error
};

// Until /quit, Ctrl-D, or Ctrl-C with nothing typed (exit code `interrupted`). Ctrl-C while an
// answer comes stops that answer; what was said of it stays in the conversation.
void chat(Engine& engine, const ChatSetup& setup, Outcome& outcome);

}  // namespace squint::cli
