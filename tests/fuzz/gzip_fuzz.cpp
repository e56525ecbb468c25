// gunzip: raw bytes, or bytes compressed by zlib, complete or truncated.
// Properties: decompression restores the bytes; a truncated file is an error.
#include <fovea/nn/data/gzip.h>

#include <zlib.h>

#include "fuzz_target.h"

using namespace fovea;
using nn::data::gunzip;

namespace {

std::string gzip(std::string_view bytes, int level) {
  z_stream stream = {};
  constexpr int smallest_window = 16 + 9, least_memory = 1;  // fast to initialize
  deflateInit2(&stream, level, Z_DEFLATED, smallest_window, least_memory, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  fuzz::require(deflate(&stream, Z_FINISH) == Z_STREAM_END, "zlib compresses");
  deflateEnd(&stream);
  return out.substr(0, out.size() - stream.avail_out);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input in(data, size);
  const unsigned mode = in.below(8), cut = 1 + in.below(8);
  if (mode < 6) {
    fuzz::accepts([&] { gunzip(in.rest(), "input"); });
    return 0;
  }
  const std::string packed = gzip(in.rest(), mode == 6 ? 0 : 1);
  fuzz::require(gunzip(packed, "input") == in.rest(), "decompression restores the bytes");
  fuzz::require(gunzip(packed + packed, "input").size() == 2 * in.rest().size(), "two members");
  const std::string_view part = std::string_view(packed).substr(0, packed.size() - cut);
  fuzz::require(!fuzz::accepts([&] { gunzip(part, "input"); }), "a part of a file is an error");
  return 0;
}
