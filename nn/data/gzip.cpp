#include <fovea/core/error.h>
#include <fovea/nn/data/gzip.h>

#include <algorithm>
#include <array>
#include <limits>
#include <zlib.h>

namespace fovea::nn::data {
namespace {

constexpr int gzip_only = 16 + MAX_WBITS;  // accept neither raw deflate nor zlib headers

// RAII wrapper of the zlib state.
class Inflater {
 public:
  Inflater() {
    if (inflateInit2(&stream_, gzip_only) != Z_OK)
      raise<Error>("gunzip", "cannot initialize zlib {}", zlibVersion());
  }
  ~Inflater() { inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  z_stream& stream() { return stream_; }

 private:
  z_stream stream_ = {};
};

// Decompresses one member to `text` and removes its bytes from `bytes`; `limit` is for all of
// `text`.
void append_member(std::string_view& bytes, std::string_view name, std::size_t limit,
                   std::string& text) {
  Inflater inflater;
  z_stream& stream = inflater.stream();
  std::array<char, 1 << 16> piece;
  for (int result = Z_OK; result != Z_STREAM_END;) {
    const std::size_t given = std::min<std::size_t>(bytes.size(), std::numeric_limits<int>::max());
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream.avail_in = static_cast<uInt>(given);
    stream.next_out = reinterpret_cast<Bytef*>(piece.data());
    stream.avail_out = static_cast<uInt>(piece.size());
    result = inflate(&stream, Z_NO_FLUSH);
    bytes.remove_prefix(given - stream.avail_in);
    const std::size_t got = piece.size() - stream.avail_out;
    if (got > limit - text.size())
      format_error(
          "gunzip",
          "{}: decompresses to more than {} bytes: must be at most 1 MiB + 100 times its size",
          name, limit);
    text.append(piece.data(), got);
    if (result == Z_OK || result == Z_STREAM_END) continue;
    if (result == Z_BUF_ERROR) format_error("gunzip", "{}: truncated file", name);
    format_error("gunzip", "{}: {}", name, stream.msg ? stream.msg : zError(result));
  }
}

}  // namespace

std::size_t gunzip_limit(std::size_t packed) { return (std::size_t{1} << 20) + 100 * packed; }

std::string gunzip(std::string_view bytes, std::string_view name) {
  const std::size_t limit = gunzip_limit(bytes.size());
  std::string text;
  do append_member(bytes, name, limit, text);
  while (!bytes.empty());
  return text;
}

}  // namespace fovea::nn::data
