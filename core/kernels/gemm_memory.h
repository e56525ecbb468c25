// Buffer for packed matrices: cache-line aligned, uninitialized, grow-only.
#pragma once

#include <cstdint>
#include <memory>
#include <new>

namespace fovea::kernels {

template <class T>
class GemmMemory {
 public:
  // At least n elements; the previous contents are lost.
  T* reserve(int64_t n) {
    if (n > capacity_) {
      data_.reset();  // first, so that old and new memory never coexist
      const auto bytes = static_cast<std::size_t>(n) * sizeof(T);
      data_.reset(static_cast<T*>(::operator new(bytes, kAlignment)));
      capacity_ = n;
    }
    return data_.get();
  }
  const T* data() const { return data_.get(); }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(T* p) const { ::operator delete(p, kAlignment); }
  };

  std::unique_ptr<T, Free> data_;
  int64_t capacity_ = 0;
};

}  // namespace fovea::kernels
