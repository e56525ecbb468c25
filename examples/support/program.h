// How every program begins and ends: errors, exit codes and standard output.
#pragma once

#include <functional>

namespace support {

/// The body's exit code; 1 after an exception, with its message on standard error. However the
/// program ends, what it wrote to standard output is flushed, and if any of it failed (a full disk,
/// a closed pipe or descriptor) the program says so and exits with 1.
int run_program(const char* name, const std::function<int()>& body);

/// Error if writing to standard output failed: for loops that would write on for long.
void check_standard_output();

/// The program will exit with 1, whatever its body returns: after an error that was reported and
/// must not stop what follows.
void fail_at_end();

}  // namespace support
