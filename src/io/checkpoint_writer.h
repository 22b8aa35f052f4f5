// checkpoint_writer.h: a checkpoint folder that appears whole or not at all, and always as the same
// bytes (spec awq-w4a16.md §4.4 - 4.5).
//
// Files are written to FOLDER.partial beside the final folder, which publish() renames into place.
// A writer that is destroyed before that removes what it wrote. A mount point cannot be renamed:
// there the working folder is FOLDER/.partial, and its files are moved one by one, config.json
// last, without which no loader takes the folder for a checkpoint.
//
// A writer locks its working folder. One that nobody has locked was left by a killed process: it is
// emptied and used again.
//
// Tensors are held as handles until publish(): those of a mapped file cost no memory. What does not
// fit in memory is streamed, or written to files of its own and added mapped.
//
// Error(bad_input): the final folder is not vacant, or another writer is filling it. Error(io): not
// writable, disk full.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/safetensors.h"

namespace squint::io {

// Whether a CheckpointWriter would accept `folder`: there is none, or it is empty but for what a
// killed writer left. Error(io) when that cannot be told.
bool is_vacant(const std::filesystem::path& folder);

class CheckpointWriter {
 public:
  static constexpr int64_t kMaxShardBytes = 5'000'000'000;

  explicit CheckpointWriter(const std::filesystem::path& final_folder,
                            int64_t max_shard_bytes = kMaxShardBytes);
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // Names must differ.
  void add(NamedTensor tensor) { add(streamed(std::move(tensor))); }
  // Produced once, in publish(), whose caller gets what produce throws.
  void add(StreamedTensor tensor);
  // Copies the regular files of a checkpoint folder that are neither hidden, nor weights, nor an
  // index, nor already written with write_side_file. Folders inside it are left out.
  void copy_side_files(const std::filesystem::path& source_folder);
  // Writes or replaces a file ("config.json").
  void write_side_file(const std::string& file_name, std::string_view text);

  // Writes the weights in the order of their names: model.safetensors, or, where they exceed
  // max_shard_bytes, model-00001-of-0000N.safetensors.. and their index. A tensor larger than the
  // limit gets a shard of its own. total_parameters counts weights before packing; it is written to
  // the index for readers who wonder. At most once.
  void write_weights(int64_t total_parameters);
  // Makes the folder appear, with its weights, where they have not been written yet. What stands in
  // between, say, hashes of all files in a file of its own, appears with them. At most once.
  void publish(int64_t total_parameters);

  const std::filesystem::path& working_folder() const { return working_folder_; }

 private:
  class FolderLock;

  void move_files();
  void rename_folder();

  std::filesystem::path final_folder_;
  std::filesystem::path working_folder_;
  std::unique_ptr<const FolderLock> lock_;  // on the working folder
  bool fills_in_place_ = false;
  int64_t max_shard_bytes_;
  std::vector<StreamedTensor> tensors_;
  std::set<std::string> side_files_;
  bool weights_written_ = false;
  bool published_ = false;
};

}  // namespace squint::io
