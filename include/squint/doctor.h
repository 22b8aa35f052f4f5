// doctor.h: what this machine is and how fast it is at what squint does.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "squint/backend.h"

namespace squint {

struct MachineReport {
  std::string processor;                  // as the system names it; empty where it does not
  int threads = 0;                        // that squint uses
  int processors = 0;                     // logical ones of the machine
  std::vector<std::string> instructions;  // of those that matter here, as Linux names them
  std::vector<std::string> kernels;       // that this machine runs, best first
  std::vector<std::string> fast_kernels;  // of fast arithmetic, likewise
  std::string running;                    // the one that does

  int64_t memory_bytes = 0;        // of the machine, or what a container may have of it; 0: unknown
  int64_t available_bytes = 0;     // at this moment; 0: unknown
  double read_bytes_a_second = 0;  // from memory, by all threads
  double read_bytes_a_second_of_one = 0;  // by one
  double float_operations_a_second = 0;   // of a float32 matrix product, by all threads

  std::filesystem::path folder;  // of the disk
  int64_t disk_free_bytes = 0;
  std::vector<std::string> graphics_cards;  // NVIDIA's

  std::vector<std::string> notes;  // what to know or to do, each a sentence

  std::string to_json() const;
  std::string to_text() const;
};

// Takes about a second and 256 MB. `folder` is one that exists. Throws Error(io) where it does not.
MachineReport examine_machine(Backend& backend, const std::filesystem::path& folder);

}  // namespace squint
