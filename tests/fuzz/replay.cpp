// replay FILE-OR-FOLDER...: runs a fuzz target on files. The main() of builds without libFuzzer.
#include <fovea/core/files.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <vector>

#include "fuzz_target.h"

namespace fs = std::filesystem;

namespace {

std::vector<fs::path> files_of(const fs::path& path) {
  if (!fs::is_directory(path)) return {path};
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(path))
    files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t count = 0;
  for (int i = 1; i < argc; ++i)
    for (const fs::path& file : files_of(argv[i])) {
      std::cerr << file.filename().string()
                << std::endl;  // the last line names the input that failed
      const std::string bytes = fovea::read_file(file);
      LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
      ++count;
    }
  std::cerr << count << " inputs\n";
  return count > 0 ? 0 : 1;  // an empty corpus tests nothing
}
