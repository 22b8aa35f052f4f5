// system_facts.h: what Linux says of a machine, taken out of the text of its files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace squint::machine {

// Of /proc/cpuinfo: the first "model name"; those of `wanted` among the first "flags".
std::string processor_name(std::string_view cpuinfo);
std::vector<std::string> instruction_sets(std::string_view cpuinfo,
                                          const std::vector<std::string>& wanted);
// Of /proc/meminfo, in bytes: "MemTotal", "MemAvailable".
std::optional<int64_t> memory_fact(std::string_view meminfo, std::string_view name);
// Of /sys/fs/cgroup/memory.max; nothing where it says "max".
std::optional<int64_t> container_limit(std::string_view text);
// Of /proc/driver/nvidia/gpus/*/information: "Model".
std::string graphics_card_name(std::string_view information);

}  // namespace squint::machine
