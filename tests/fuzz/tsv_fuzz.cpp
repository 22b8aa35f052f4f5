// Any bytes as a table, its fields as Python's lists and as base64.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "eval/python_list.h"
#include "io/base64.h"
#include "io/tsv.h"
#include "squint/error.h"

namespace {

template <class Use>
void may_be_refused(const Use& use) {
  try {
    use();
  } catch (const squint::Error&) {
    // What bytes from outside may cause; anything else is a finding.
  }
}

void use(std::string_view text) {
  squint::io::TsvReader reader(text, "fuzz");
  std::vector<squint::io::TsvField> fields;
  while (reader.next(fields)) {
    for (const squint::io::TsvField& field : fields) {
      may_be_refused([&] { squint::eval::python_strings(field.text(), "fuzz"); });
      may_be_refused([&] { squint::io::decode_base64(field.raw, "fuzz"); });
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  may_be_refused([&] { use({reinterpret_cast<const char*>(data), size}); });
  return 0;
}
