// Common main(): errors, exit codes and standard output.
#pragma once

#include <functional>

namespace support {

/// Returns the body's exit code; 1 after an exception, with its message on standard error. In all
/// cases standard output is flushed at the end, and if a write failed (full disk, closed pipe or
/// descriptor), the program prints an error and exits with 1.
int run_program(const char* name, const std::function<int()>& body);

/// Error if writing to standard output failed. For loops with much output.
void check_standard_output();

/// The program will exit with 1, whatever its body returns: for an error that was reported but must
/// not stop the program.
void fail_at_end();

}  // namespace support
