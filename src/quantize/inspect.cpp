#include "squint/inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "io/checkpoint.h"
#include "io/compressed_tensors.h"
#include "models/qwen3_vl/config.h"
#include "models/qwen3_vl/decoder_block.h"

namespace squint {
namespace {

constexpr QuantizationScheme kUsual{};  // 4 bits, groups of 128, symmetric

// "blocks.12.attn" → "blocks.N.attn"
std::string family_name(const std::string& name) {
  std::string out;
  size_t begin = 0;
  while (begin <= name.size()) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    const bool number = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
    out += (begin > 0 ? "." : "") + (number ? "N" : part);
    begin = end + 1;
  }
  return out;
}

bool is_text_linear(const std::string& name) {
  return name.starts_with("model.language_model.layers.") && name.ends_with("_proj.weight");
}

std::string component_of(const std::string& name) {
  if (name.starts_with("model.visual.")) return "vision tower";
  if (name.starts_with("lm_head.")) return "head";
  if (name.find("embed_tokens") != std::string::npos) return "embedding";
  return "text layers";
}

std::string scheme_text(const QuantizationScheme& s) {
  return fmt::format(
      "W{}A16, {}, {}", s.bits,
      s.group_size == 0 ? "a scale per row" : fmt::format("groups of {}", s.group_size),
      s.symmetric ? "symmetric" : "asymmetric");
}

// Bytes of a weight [rows, cols] packed as usual.
int64_t packed_bytes(const Shape& shape) {
  return shape.numel() / 2 + 2 * shape[0] * kUsual.groups(shape[1]);
}

// Weights that a tensor stands for: those of a packed one before packing, none where it only says
// how others are packed.
int64_t weights_of(const std::string& name, const Tensor& tensor,
                   const std::optional<io::QuantizationConfig>& quantization) {
  if (!quantization) return tensor.numel();
  for (const char* suffix : {".weight_shape", ".weight_scale", ".weight_zero_point"}) {
    if (name.ends_with(suffix)) return 0;
  }
  if (!name.ends_with(".weight_packed")) return tensor.numel();
  const io::QuantizationGroup* group =
      quantization->group_of(name.substr(0, name.rfind(".weight_packed")));
  return group == nullptr ? 0 : tensor.numel() * (32 / group->scheme.bits);
}

void add_tensors(const io::Checkpoint& checkpoint,
                 const std::optional<io::QuantizationConfig>& quantization, Inspection& out) {
  std::map<std::string, TensorFamily> families;
  std::map<std::string, Component> components;
  std::set<std::string> shards;
  for (const std::string& name : checkpoint.names()) {
    const Tensor& tensor = *checkpoint.find(name);
    shards.insert(checkpoint.shard_of(name));
    const bool quantizable = !quantization && is_text_linear(name) && tensor.numel() > 0 &&
                             tensor.shape().rank() == 2 && kUsual.divides(tensor.dim(1));
    const std::string key = fmt::format("{} {} {}", family_name(name), tensor.shape().to_string(),
                                        squint::name(tensor.dtype()));
    TensorFamily& family = families[key];
    family.name = family_name(name);
    family.dtype = squint::name(tensor.dtype());
    family.shape = tensor.shape().to_string();
    family.quantizable = quantizable;
    ++family.count;
    family.bytes += tensor.bytes();
    Component& component = components[component_of(name)];
    component.name = component_of(name);
    component.parameters += weights_of(name, tensor, quantization);
    component.bytes += tensor.bytes();
    component.bytes_after += quantizable ? packed_bytes(tensor.shape()) : tensor.bytes();
    out.quantizable_layers += quantizable ? 1 : 0;
    ++out.tensors;
  }
  out.shards = static_cast<int64_t>(shards.size());
  for (auto& [key, family] : families) out.families.push_back(std::move(family));
  for (const char* name : {"vision tower", "embedding", "text layers", "head"}) {
    if (components.contains(name)) out.components.push_back(components[name]);
  }
}

std::string bytes_text(int64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes >= 1'000'000'000) return fmt::format("{:.2f} GB", value / 1e9);
  if (bytes >= 1'000'000) return fmt::format("{:.1f} MB", value / 1e6);
  return fmt::format("{:.1f} kB", value / 1e3);
}

std::string count_text(int64_t count) {
  return count >= 1'000'000 ? fmt::format("{:.1f} M", static_cast<double>(count) / 1e6)
                            : fmt::format("{:.1f} k", static_cast<double>(count) / 1e3);
}

// The end of a name says more than its beginning.
std::string clipped(const std::string& name, size_t width) {
  return name.size() <= width ? name : "…" + name.substr(name.size() - (width - 1));
}

}  // namespace

Inspection inspect(const std::filesystem::path& model) {
  const io::Checkpoint checkpoint = io::Checkpoint::open(model);
  const std::string where = (model / io::kConfigFileName).string();
  const Json json = checkpoint.config();
  const qwen3_vl::Config config = qwen3_vl::parse_config(json, where);
  Inspection out;
  out.folder = model.string();
  out.architecture = json["architectures"][0].get<std::string>();
  const qwen3_vl::TextConfig& t = config.text;
  out.text =
      fmt::format("{} layers of {}, {} heads of {}, {} key/value heads, MLP {}, vocabulary {}",
                  t.layers, t.hidden, t.heads, t.head_dim, t.kv_heads, t.intermediate, t.vocab);
  const qwen3_vl::VisionConfig& v = config.vision;
  out.vision = fmt::format("{} blocks of {}, {} heads of {}, MLP {}, patches of {}", v.depth,
                           v.hidden, v.heads, v.head_dim(), v.intermediate, v.patch_size);
  out.tied_head = config.tied_head;
  const qwen3_vl::Weights weights(checkpoint);
  const std::optional<io::QuantizationConfig>& quantization = weights.quantization();
  if (quantization) {
    out.quantized = "compressed-tensors";
    for (const io::QuantizationGroup& g : quantization->groups) {
      out.quantized += ", " + scheme_text(g.scheme);
    }
  }
  for (int64_t layer = 0; layer < t.layers; ++layer) {
    qwen3_vl::DecoderBlockWeights::expect(weights, t, layer);
  }
  add_tensors(checkpoint, quantization, out);
  for (const qwen3_vl::SmoothGroup& g : qwen3_vl::smooth_groups(t)) {
    out.smoothing_groups.emplace_back(g.name);
  }
  for (const auto& [what, columns] :
       {std::pair{"hidden size", t.hidden}, std::pair{"attention width", t.heads * t.head_dim},
        std::pair{"MLP width", t.intermediate}}) {
    if (!kUsual.divides(columns)) {
      out.problems.push_back(
          fmt::format("{} {} is not a multiple of {}", what, columns, kUsual.group_size));
    }
  }
  return out;
}

std::string Inspection::to_text(int width) const {
  std::string out =
      fmt::format("{}\n  {}\n  text    {}\n  vision  {}\n  {} tensors in {} file{}{}\n", folder,
                  architecture, text, vision, tensors, shards, shards == 1 ? "" : "s",
                  tied_head ? ", head tied to the embedding" : "");
  if (!quantized.empty()) out += fmt::format("  quantized: {}\n", quantized);
  const auto name_width = static_cast<size_t>(std::clamp(width - 42, 30, 62));
  out += fmt::format("\n  {:<{}} {:>4} {:>5} {:>19} {:>9}\n", "tensor", name_width, "×", "type",
                     "shape", "bytes");
  for (const TensorFamily& f : families) {
    const std::string name = clipped(f.name, name_width);
    out += fmt::format("{} {:<{}} {:>4} {:>5} {:>19} {:>9}\n", f.quantizable ? "▪" : " ", name,
                       name_width, f.count, f.dtype, f.shape, bytes_text(f.bytes));
  }
  Component total;
  out += fmt::format("\n  {:<14} {:>10} {:>10} {:>10}\n", "component", "weights", "now",
                     quantized.empty() ? "in 4 bits" : "");
  const auto row = [&](const std::string& name, const Component& c) {
    out += fmt::format("  {:<14} {:>10} {:>10} {:>10}\n", name, count_text(c.parameters),
                       bytes_text(c.bytes), quantized.empty() ? bytes_text(c.bytes_after) : "");
  };
  for (const Component& c : components) {
    row(c.name, c);
    total.parameters += c.parameters;
    total.bytes += c.bytes;
    total.bytes_after += c.bytes_after;
  }
  row("all", total);
  if (!quantized.empty()) return out;
  out += fmt::format(
      "\n▪ {} linear layers would be quantized; vision tower, embedding, norms and head "
      "stay\n",
      quantizable_layers);
  out += "\n  smoothing groups of each layer\n";
  for (const std::string& group : smoothing_groups) out += "    " + group + "\n";
  for (const std::string& problem : problems) out += "  problem: " + problem + "\n";
  return out;
}

std::string Inspection::to_json() const {
  OrderedJson json = {{"folder", folder},
                      {"architecture", architecture},
                      {"text", text},
                      {"vision", vision},
                      {"tied_head", tied_head},
                      {"tensors", tensors},
                      {"shards", shards},
                      {"quantizable_layers", quantizable_layers},
                      {"smoothing_groups", smoothing_groups},
                      {"problems", problems}};
  json["quantized"] = quantized.empty() ? OrderedJson(nullptr) : OrderedJson(quantized);
  json["components"] = OrderedJson::array();
  for (const Component& c : components) {
    json["components"].push_back({{"name", c.name},
                                  {"parameters", c.parameters},
                                  {"bytes", c.bytes},
                                  {"bytes_after", c.bytes_after}});
  }
  json["families"] = OrderedJson::array();
  for (const TensorFamily& f : families) {
    json["families"].push_back({{"name", f.name},
                                {"dtype", f.dtype},
                                {"shape", f.shape},
                                {"count", f.count},
                                {"bytes", f.bytes},
                                {"quantizable", f.quantizable}});
  }
  // Names and paths may hold bytes that are not UTF-8.
  return json.dump(2, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace squint
