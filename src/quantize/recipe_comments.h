// recipe_comments.h: what squint's recipes say in comments, because llm-compressor has no key for
// it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "quantize/yaml_reader.h"
#include "squint/quantize.h"

namespace squint::quantize {

// Of lines like "# squint: calibration rows 5, seed 3" in `text`. What the options say of the rows
// already counts before it. `several`: the recipe has several groups, on which a budget is spent.
// Throws as the reader does, with the line.
void read_recipe_comments(const YamlReader& reader, std::string_view text, bool several,
                          QuantizeOptions& options, std::vector<std::string>& notes);

}  // namespace squint::quantize
