// --dry-run and --memory-limit.
#pragma once

#include <cstdint>

namespace support {

struct MemoryOptions {
  bool dry_run = false;
  std::int64_t limit = 0;  ///< bytes of tensors; 0: the memory available on this machine
};

class Group;
void add_memory_options(Group& group, MemoryOptions& options);

}  // namespace support
