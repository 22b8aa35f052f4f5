#include "runtime/teacher_forcing.h"

#include "models/qwen3_vl/chat_template.h"

namespace squint::runtime {

ForcedInput force(const qwen3_vl::Processor& processor, const QuestionAnswer& row) {
  using Kind = qwen3_vl::ContentPart::Kind;
  qwen3_vl::Message user;
  user.role = "user";
  std::vector<qwen3_vl::Patches> images;
  for (const auto& path : row.images) {
    images.push_back(processor.read_image(path));
    user.content.push_back({.kind = Kind::image});
  }
  user.content.push_back({.kind = Kind::text, .text = row.question});
  const std::string answer = row.answer + "<|im_end|>";
  ForcedInput out;
  out.input = processor.prepare(qwen3_vl::render_chat({&user, 1}, {}), std::move(images), answer);
  out.answer_tokens = static_cast<int64_t>(processor.tokenizer().encode(answer).size());
  return out;
}

void forced_logits(Context& cx, const qwen3_vl::Model& model, std::span<const ForcedInput> rows,
                   const SeenLogits& seen) {
  const Arena::Scope scope(cx.scratch);
  std::vector<std::vector<qwen3_vl::ImageFeatures>> features;
  std::vector<KvCache> caches;
  for (const ForcedInput& row : rows) {
    features.push_back(model.encode_images(cx, row.input));
    caches.push_back(model.make_cache(cx, row.input.tokens()));
  }
  std::vector<qwen3_vl::Prompt> prompts;
  for (size_t i = 0; i < rows.size(); ++i) {
    prompts.push_back({&rows[i].input, features[i], &caches[i]});
  }
  const Tensor hidden = model.prefill(cx, prompts);
  int64_t end = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    end += rows[i].input.tokens();
    // The state at a position predicts the token after it.
    const int64_t begin = end - 1 - rows[i].answer_tokens;
    const Arena::Scope row_scope(cx.scratch);
    seen(i, model.logits(cx, hidden.rows(begin, rows[i].answer_tokens)));
  }
}

}  // namespace squint::runtime
