// as_nobody.h: permissions bind the superuser too.
#pragma once

#include <unistd.h>

namespace squint::test {

// Gives up the superuser's rights until the end of the scope; other users keep theirs.
class AsNobody {
 public:
  AsNobody() : was_root_(geteuid() == 0), ok_(!was_root_ || seteuid(kNobody) == 0) {}
  ~AsNobody() {
    if (was_root_ && ok_) ok_ = seteuid(0) == 0;
  }
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;
  bool ok() const { return ok_; }

 private:
  static constexpr uid_t kNobody = 65534;
  bool was_root_;
  bool ok_;
};

inline constexpr const char* kNoNobody = "skipped: cannot give up the superuser's rights";

}  // namespace squint::test
