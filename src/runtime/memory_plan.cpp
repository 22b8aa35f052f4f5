#include "runtime/memory_plan.h"

#include <fmt/format.h>

#include <vector>

#include "models/qwen3_vl/decoder_block.h"
#include "models/qwen3_vl/stored_forms.h"
#include "ops/backend.h"

namespace squint::runtime {
namespace {

using qwen3_vl::Component;

constexpr int64_t kFloat = 4;
// Measured with the published vocabulary: what a tokenizer holds for one of its entries.
constexpr int64_t kTokenizerEntryBytes = 60;
// Measured: code and stacks that a run touches and planning does not, 1 to 3 MB.
constexpr int64_t kRunningBytes = 2'000'000;

void add_loading(MemoryPlan& sizes, const std::vector<qwen3_vl::LoadStep>& steps) {
  int64_t most = 0;
  int64_t kept = 0;
  for (const qwen3_vl::LoadStep& step : steps) {
    sizes.kept[static_cast<size_t>(step.component)] += step.kept_bytes;
    if (!step.shared) {
      sizes.stored += step.stored_bytes;
      sizes.parameters += step.parameters;
    }
    kept += step.kept_bytes;
    const int64_t extra = step.stored_bytes + step.passing_bytes;
    if (kept + extra <= most) continue;
    most = kept + extra;
    sizes.loading_extra = extra;
    sizes.kept_then = sizes.kept;
  }
}

void add_work(MemoryPlan& sizes, const qwen3_vl::Config& config, const RunLength& length,
              const Backend& backend) {
  const qwen3_vl::TextConfig& t = config.text;
  const qwen3_vl::VisionConfig& v = config.vision;
  ArenaLayout scratch;
  int64_t attention = 0;
  int64_t passing = 0;  // on the host, while one image is encoded: rotary tables
  for (const int64_t count : length.patches) {
    qwen3_vl::lay_out_encode(scratch, v, backend, count);
    attention = std::max(attention, backend.attention_bytes(v.head_dim(), count));
    passing = std::max(passing, count * v.head_dim() * kFloat);
    sizes.pixels += count * v.patch_values() * kFloat;
    sizes.features += qwen3_vl::feature_bytes(config, count);
    sizes.image_tokens += count / (v.merge_size * v.merge_size);
  }
  if (!length.patches.empty()) {
    // The learned positions stay where the file is mapped.
    sizes.pixels += v.positions * v.hidden * byte_size(DType::bf16);
    sizes.encode_work = scratch.touched() + attention + passing;
  }
  qwen3_vl::lay_out_prompt(scratch, t, length.prompt);
  attention = std::max(attention, backend.attention_bytes(t.head_dim, length.prompt));
  const int64_t logits = t.vocab * kFloat;  // copied to be sampled from
  sizes.prompt_work = scratch.touched() + attention + logits;
}

}  // namespace

MemoryPlan plan_memory(const qwen3_vl::Config& config, const qwen3_vl::FormOf& form_of,
                       const Backend& backend, const RunLength& length, int64_t program) {
  MemoryPlan plan;
  plan.program = program + kRunningBytes;
  plan.tokenizer = config.text.vocab * kTokenizerEntryBytes;
  add_loading(plan, load_steps(config, backend, form_of));
  add_work(plan, config, length, backend);
  plan.cache = cache_bytes(config.text, backend, length.context);
  return plan;
}

FitPlan in_words(const MemoryPlan& s, const RunLength& length, const std::string& text_form) {
  FitPlan plan{.parameters = s.parameters,
               .stored_bytes = s.stored,
               .context = length.context,
               .prompt = length.prompt,
               .image_tokens = s.image_tokens};
  static constexpr std::array kMoments = {"loading", "encoding images", "reading the prompt"};
  const std::array<int64_t, 3> totals = {s.loading(), s.encode_work > 0 ? s.encoding() : 0,
                                         s.prompting()};
  const auto moment = static_cast<size_t>(std::ranges::max_element(totals) - totals.begin());
  plan.moment = kMoments[moment];
  plan.total_bytes = totals[moment];
  const auto& kept = moment == 0 ? s.kept_then : s.kept;
  const auto add = [&](const char* name, std::string note, int64_t bytes) {
    if (bytes > 0) plan.parts.push_back({name, std::move(note), bytes});
  };
  const auto of = [&](Component c) { return kept[static_cast<size_t>(c)]; };
  add("text layers", text_form, of(Component::text));
  add("output head", "", of(Component::head));
  add("vision tower", "", of(Component::vision));
  if (moment == 0) {
    add("file pages", "of what is being loaded, and its unpacking", s.loading_extra);
  } else {
    if (moment == 2) {
      add("cache", fmt::format("keys and values of {} tokens", plan.context), s.cache);
    }
    add("images", "pixels and features", s.pixels + s.features);
    add("workspace", moment == 1 ? "of the vision tower" : "the largest of what came so far",
        moment == 1 ? s.encode_work : s.prompt_work);
  }
  add("tokenizer", "", s.tokenizer);
  add("program", "", s.program);
  return plan;
}

std::string text_form(const qwen3_vl::Config& config, const qwen3_vl::FormOf& form_of) {
  return qwen3_vl::form_text(form_of(module_name(0, qwen3_vl::LinearRole::down), config.text.hidden,
                                     config.text.intermediate));
}

}  // namespace squint::runtime
