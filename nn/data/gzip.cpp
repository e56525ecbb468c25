#include <fovea/core/error.h>
#include <fovea/nn/data/gzip.h>

#include <algorithm>
#include <array>
#include <limits>
#include <zlib.h>

namespace fovea::nn::data {
namespace {

constexpr int gzip_only = 16 + MAX_WBITS;  // no raw deflate, no zlib header

// zlib's state, ended when it goes out of scope.
class Inflater {
 public:
  Inflater() {
    if (inflateInit2(&stream_, gzip_only) != Z_OK)
      raise<Error>("gunzip", "zlib {} could not be started", zlibVersion());
  }
  ~Inflater() { inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  z_stream& stream() { return stream_; }

 private:
  z_stream stream_ = {};
};

// Appends one member and takes its bytes off the front.
void append_member(std::string_view& bytes, std::string_view name, std::string& text) {
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
    text.append(piece.data(), piece.size() - stream.avail_out);
    if (result == Z_OK || result == Z_STREAM_END) continue;
    if (result == Z_BUF_ERROR) format_error("gunzip", "{}: ends in the middle", name);
    format_error("gunzip", "{}: {}", name, stream.msg ? stream.msg : zError(result));
  }
}

}  // namespace

std::string gunzip(std::string_view bytes, std::string_view name) {
  std::string text;
  do append_member(bytes, name, text);
  while (!bytes.empty());
  return text;
}

}  // namespace fovea::nn::data
