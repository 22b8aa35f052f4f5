#include "quantize/recipe_comments.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <optional>

#include "quantize/nearest_name.h"
#include "quantize/recipe.h"

namespace squint::quantize {
namespace {

class Comments {
 public:
  Comments(const YamlReader& reader, bool several, QuantizeOptions& options,
           std::vector<std::string>& notes)
      : reader_(reader), several_(several), options_(options), notes_(notes) {}

  void read(std::string_view text) {
    for (int line = 1; !text.empty(); ++line) {
      const size_t end = std::min(text.find('\n'), text.size());
      std::string_view content = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      while (content.ends_with('\r')) content.remove_suffix(1);
      content.remove_prefix(std::min(content.find_first_not_of(' '), content.size()));
      if (!content.starts_with(kRecipeComment)) continue;
      content.remove_prefix(kRecipeComment.size());
      // "calibration rows 5, seed 3": the topic is for people.
      constexpr std::string_view kTopic = "calibration ";
      if (content.starts_with(kTopic)) content.remove_prefix(kTopic.size());
      while (!content.empty()) {
        const size_t comma = std::min(content.find(", "), content.size());
        read_setting(content.substr(0, comma), line);
        content.remove_prefix(std::min(comma + 2, content.size()));
      }
    }
  }

 private:
  // "image weight 0.3"
  void read_setting(std::string_view setting, int line) {
    const auto rest = [&](std::string_view key) {
      return setting.starts_with(key) && setting.substr(key.size()).starts_with(' ')
                 ? std::optional(setting.substr(key.size() + 1))
                 : std::nullopt;
    };
    const auto part = [&](std::string_view value) {
      return reader_.number_in<double>(line, "", value, 0, 1);
    };
    const auto count = [&](std::string_view value) {
      return reader_.number_in<int64_t>(line, "", value, 0, INT64_MAX);
    };
    if (const auto value = rest("rounds")) {
      options_.rounds = reader_.number_in<int>(line, "rounds: ", *value, 0, 100);
    } else if (const auto propagation = rest("propagation")) {
      options_.propagation = part(*propagation);
    } else if (const auto shrinkage = rest("shrinkage")) {
      options_.shrinkage = part(*shrinkage);
    } else if (const auto weight = rest("image weight")) {
      options_.image_weight.reset();
      if (*weight != "measured") options_.image_weight = part(*weight);
    } else if (const auto observer = rest("observer"); observer == "clip") {
      options_.observer = RangeObserver::clip;
    } else if (const auto scales = rest("scales"); scales == "positive") {
      options_.signed_scales = false;
    } else if (const auto rows = rest("rows")) {
      const int64_t wanted = count(*rows);
      if (options_.rows == 0) options_.rows = wanted;
    } else if (const auto joined = rest("joined")) {
      options_.joined = reader_.number_in<int>(line, "joined: ", *joined, 0, kMostJoined);
    } else if (const auto seed = rest("seed")) {
      const auto wanted = reader_.number_in<uint64_t>(line, "seed: ", *seed, 0, UINT64_MAX);
      if (!options_.seed) options_.seed = wanted;
    } else if (const auto tokens = rest("tokens")) {
      const int64_t wanted = count(*tokens);
      if (options_.calibration_tokens == 0) options_.calibration_tokens = wanted;
    } else if (const auto held_out = rest("held out")) {
      const int64_t wanted = count(*held_out);
      if (!options_.held_out) options_.held_out = wanted;
    } else if (const auto budget = rest("budget")) {
      // Where it was spent, the groups say on what.
      const auto wanted = reader_.number_in<double>(line, "budget: ", *budget, 4, 16);
      if (!several_ && !options_.budget) options_.budget = wanted;
    } else if (const auto weights = rest("weights")) {
      notes_.push_back(
          fmt::format("its calibration sources had the weights {}; repeat them as "
                      "--calibration PATH=WEIGHT",
                      weights->substr(0, 200)));
    } else {
      static const std::vector<std::string_view> kSettings = {
          "rounds",          "propagation", "shrinkage", "image weight", "observer clip",
          "scales positive", "budget",      "rows",      "seed",         "joined",
          "tokens",          "held out",    "weights"};
      reader_.fail(ErrorCode::bad_input, line,
                   fmt::format("unknown setting \"{}\"; is \"{}\" meant?", setting.substr(0, 64),
                               nearest(setting.substr(0, setting.rfind(' ')), kSettings)));
    }
  }

  const YamlReader& reader_;
  bool several_;
  QuantizeOptions& options_;
  std::vector<std::string>& notes_;
};

}  // namespace

void read_recipe_comments(const YamlReader& reader, std::string_view text, bool several,
                          QuantizeOptions& options, std::vector<std::string>& notes) {
  Comments(reader, several, options, notes).read(text);
}

}  // namespace squint::quantize
