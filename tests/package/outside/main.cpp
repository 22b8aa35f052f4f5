// Every public header, and one answer.
#include <cstdio>

#include "squint/backend.h"
#include "squint/compare.h"
#include "squint/engine.h"
#include "squint/error.h"
#include "squint/evaluate.h"
#include "squint/inspect.h"
#include "squint/ocrbench.h"
#include "squint/quantize.h"
#include "squint/version.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    const squint::BackendPtr backend = squint::open_backend({.threads = 1});
    squint::Engine engine(argv[1], *backend);
    squint::Request request;
    request.turns = {{.text = "what is written in the image?"}};
    request.max_tokens = 4;
    request.sampling.temperature = 0;
    const squint::Completion done = engine.generate(request);
    std::printf("squint %s: %lld prompt tokens, \"%s\"\n", squint::kVersion,
                static_cast<long long>(done.prompt_tokens), done.text.c_str());
    return done.ids.empty() ? 1 : 0;
  } catch (const squint::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 3;
  }
}
