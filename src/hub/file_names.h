// file_names.h: names from a server, before they name anything here.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "hub/repository.h"

namespace squint::hub {

// Why a path from a server is not taken: it could lead out of the folder, or is no name here.
// Empty where it may be used.
std::string problem_with(std::string_view path);

// Error(usage) for what is no "owner/name", nor on Hugging Face "name"; for what is no revision.
void check_id(const std::string& id, HubKind hub);
void check_revision(const std::string& revision);

// Whether a shell pattern fits a path; "*" also crosses "/", one that ends in "/" means everything
// below.
bool fits(const std::string& pattern, const std::string& path);

// Sorted by path, those that the patterns take. Error(bad_input) for a path that may not be used
// or occurs twice, a negative size, a digest that is none; also where no file is left.
std::vector<RepoFile> checked_files(std::vector<RepoFile> files, const PullOptions& options);

}  // namespace squint::hub
