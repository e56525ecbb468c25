#include <fovea/core/autograd.h>
#include <fovea/core/error.h>
#include <fovea/core/files.h>
#include <fovea/core/random.h>
#include <fovea/core/safetensors.h>
#include <fovea/core/state.h>
#include <fovea/tests/support/compare.h>

#include <cmath>
#include <filesystem>
#include <unistd.h>

#include <doctest/doctest.h>

using namespace fovea;
using test::message_of;

namespace {

SafetensorsFile file_with(const NamedTensors& tensors) {
  return SafetensorsFile::parse(to_safetensors(tensors), "F");
}

NamedTensors two_tensors(float first) {
  return {{"w", tensor({{first, 2}, {3, 4}})}, {"n", from_data(std::vector<int64_t>{7}, {1})}};
}

}  // namespace

TEST_CASE("state: saved, loaded into tensors of the same names in any order") {
  const auto path = std::filesystem::temp_directory_path() /
                    ("fovea_state_test_" + std::to_string(::getpid()) + ".safetensors");
  save(path, two_tensors(1), {{"epoch", "3"}});
  const NamedTensors target = {{"n", zeros({1}, DType::i64)}, {"w", zeros({2, 2})}};
  const Tensor alive = target[1].second;  // the model's handle
  CHECK(load_into(path, target) == Metadata{{"epoch", "3"}});
  CHECK(alive.to_vector<float>() == std::vector<float>{1, 2, 3, 4});
  CHECK(target[0].second.item<int64_t>() == 7);
  std::filesystem::remove(path);
}

TEST_CASE("state: loading writes through views and does not change requires_grad") {
  Tensor w = zeros({2, 2});
  w.set_requires_grad();
  const Tensor base = zeros({2, 2});
  load_into(file_with({{"w", tensor({{1, 2}, {3, 4}})}, {"v", tensor({{5, 6}, {7, 8}})}}),
            {{"w", w}, {"v", alias(base, {2, 2}, {1, 2})}});
  CHECK(w.requires_grad());
  CHECK(w.is_leaf());
  CHECK(base.to_vector<float>() == std::vector<float>{5, 7, 6, 8});
}

TEST_CASE("state: every mismatch is listed, and nothing is written") {
  const NamedTensors model = {{"fits", zeros({1})},
                              {"missing", zeros({1})},
                              {"shape", zeros({2, 3})},
                              {"type", zeros({1})}};
  const SafetensorsFile file = file_with({{"fits", ones({1})},
                                          {"shape", ones({3, 2})},
                                          {"type", ones({1}, DType::f64)},
                                          {"extra", ones({1})}});
  CHECK(message_of<StateError>([&] { load_into(file, model); }) ==
        "load_into: F: 'missing' is missing in the file; "
        "'shape' has shape (3, 2) in the file and (2, 3) here; "
        "'type' is F64 in the file and F32 here; 'extra' is in the file only");
  for (const auto& [name, value] : model)
    for (const float number : value.to_vector<float>()) CHECK(number == 0);
}

TEST_CASE("state: without strict, names may be missing, but shapes and types must match") {
  const NamedTensors model = {{"a", zeros({1})}, {"b", zeros({1})}};
  load_into(file_with({{"b", ones({1})}, {"c", ones({1})}}), model, {.strict = false});
  CHECK(model[0].second.item() == 0);
  CHECK(model[1].second.item() == 1);
  CHECK(message_of<StateError>([&] {
          load_into(file_with({{"b", ones({2})}}), model, {.strict = false});
        }) == "load_into: F: 'b' has shape (2) in the file and (1,) here");
}

TEST_CASE("state: a long list of mismatches is shortened") {
  NamedTensors many;
  for (int i = 0; i < 13; ++i) many.emplace_back("t" + std::to_string(i), zeros({1}));
  const std::string message = message_of<StateError>([&] { load_into(file_with({}), many); });
  CHECK(message.find("'t9' is missing in the file; and 3 more") != std::string::npos);
  CHECK(message.find("t10") == std::string::npos);
}

TEST_CASE("state: an unreadable entry does not change the model") {
  std::string bytes = to_safetensors({{"a", ones({1})}, {"b", ones({1}, DType::boolean)}});
  bytes.back() = 2;
  const NamedTensors model = {{"a", zeros({1})}, {"b", zeros({1}, DType::boolean)}};
  CHECK(message_of<FormatError>([&] { load_into(SafetensorsFile::parse(bytes, "F"), model); }) ==
        "safetensors: F: 'b': a BOOL must be 0 or 1");
  CHECK(model[0].second.item() == 0);
}

TEST_CASE("state: a name that is listed twice, a type that Tensor does not support") {
  const NamedTensors twice = {{"a", zeros({1})}, {"a", zeros({1})}};
  CHECK(message_of<ValueError>([&] {
          load_into(file_with({{"a", ones({1})}}), twice);
        }) == "load_into: 'a' is listed twice");
  std::string bytes = to_safetensors({{"a", ones({1})}});
  bytes.replace(bytes.find("F32"), 3, "I32");
  CHECK(message_of<StateError>([&] {
          load_into(SafetensorsFile::parse(bytes, "F"), {{"a", zeros({1})}});
        }) == "load_into: F: 'a' is I32 in the file and F32 here");
}

TEST_CASE("state: save() writes checksums, and the error for a flipped bit names the tensor") {
  const auto path = std::filesystem::temp_directory_path() /
                    ("fovea_state_test_" + std::to_string(::getpid()) + ".flipped");
  save(path, two_tensors(1));
  std::string bytes = read_file(path);
  bytes[bytes.size() - 3] = static_cast<char>(bytes[bytes.size() - 3] ^ 4);
  write_file_atomically(path, bytes);
  const NamedTensors target = {{"w", zeros({2, 2})}, {"n", zeros({1}, DType::i64)}};
  CHECK(message_of<FormatError>([&] { load_into(path, target); }).find("the checksum of 'w' is ") !=
        std::string::npos);
  CHECK(target[1].second.item<int64_t>() == 0);
  std::filesystem::remove(path);
}

TEST_CASE("state: a file may have tied tensors under one of their names or under both") {
  const Tensor w = zeros({2}), other = zeros({1});
  const NamedTensors model = {{"embedding", w}, {"head", w}, {"view", w.detach()}, {"b", other}};
  load_into(file_with({{"head", tensor({1, 2})}, {"b", ones({1})}}), model);
  CHECK(w.to_vector<float>() == std::vector<float>{1, 2});
  load_into(file_with({{"embedding", tensor({3, 4})}, {"view", tensor({3, 4})}, {"b", ones({1})}}),
            model);
  CHECK(w.to_vector<float>() == std::vector<float>{3, 4});
  CHECK(
      message_of<StateError>([&] {
        load_into(
            file_with({{"embedding", tensor({5, 6})}, {"head", tensor({5, 7})}, {"b", zeros({1})}}),
            model);
      }) ==
      "load_into: F: 'embedding' and 'head' differ in the file: must be equal, because they are "
      "tied");
  CHECK(w.to_vector<float>() == std::vector<float>{3, 4});
  CHECK(other.item() == 1);
  CHECK(message_of<StateError>([&] {
          load_into(file_with({{"b", ones({1})}}), model);
        }) ==
        "load_into: F: 'embedding' is missing in the file; 'head' is missing in the file; 'view' "
        "is missing in the file");
}

TEST_CASE("state: distinct tensors, each under its first name") {
  Tensor w = zeros({2, 2});
  const Tensor alone = zeros({2, 2}), none = zeros({0}), nothing = zeros({0});
  w.set_requires_grad();
  const NamedTensors list = {{"view", w.detach()},
                             {"w", w},
                             {"alone", alone},
                             {"tied", w},
                             {"row", alias(w.detach(), {2}, {1})},
                             {"none", none},
                             {"nothing", nothing}};
  const NamedTensors once = distinct("op", list);
  std::vector<std::string> names;
  for (const auto& [name, tensor] : once) names.push_back(name);
  CHECK(names == std::vector<std::string>{"view", "alone", "row", "none", "nothing"});
  CHECK(once[0].second.impl() == w.impl());  // the one that accumulates the gradient
  CHECK(message_of<ValueError>([&] {
          distinct("op", {{"a", w}, {"b", alone}, {"a", w}});
        }) == "op: 'a' is listed twice");
  CHECK(message_of<StateError>([&] {
          distinct("op", {{"a", Tensor()}});
        }) == "op: 'a' is undefined");
  Tensor second = w.detach();
  second.set_requires_grad();
  CHECK(message_of<ValueError>([&] {
          distinct("op", {{"a", w}, {"b", second}});
        }) == "op: 'a' and 'b' are two leaves that share memory: must be one tensor");
}

TEST_CASE("state: LoadOptions::finite rejects NaN and infinities") {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    Tensor values = zeros({3, 5000});
    values.mutable_data<float>()[12345] = bad;
    const NamedTensors model = {{"a", zeros({1})}, {"w", zeros({3, 5000})}};
    const SafetensorsFile file = file_with({{"a", ones({1})}, {"w", values}});
    CHECK(message_of<NonFiniteError>([&] { load_into(file, model, {.finite = true}); }) ==
          fmt::format("load_into: F: 'w' holds {} at 12345: must be finite", bad));
    CHECK(model[0].second.item() == 0);
    load_into(file, model);  // a mask may contain them
    CHECK(model[0].second.item() == 1);
    load_into(file, model, {.finite = true});  // this mask contains one now
  }
}

TEST_CASE("state: LoadOptions::check receives every tensor before one is written") {
  const NamedTensors model = {{"a", zeros({1})}, {"b", zeros({1})}};
  std::string seen;
  const auto check = [&](const std::string& name, const Tensor& value) {
    seen += name;
    if (name == "b" && value.item() > 0) value_error("check", "b = {}", value.item());
  };
  CHECK(message_of<ValueError>([&] {
          load_into(file_with({{"a", ones({1})}, {"b", ones({1})}}), model, {.check = check});
        }) == "check: b = 1");
  CHECK(seen == "ab");
  CHECK(model[0].second.item() == 0);
}

TEST_CASE("state: lists are joined under prefixes") {
  NamedTensors all;
  append(all, "model", two_tensors(1));
  append(all, "optimizer", {{"step", zeros({1})}});
  CHECK(all.size() == 3);
  CHECK(all[0].first == "model.w");
  CHECK(all[2].first == "optimizer.step");
}

TEST_CASE("state: a generator continues from its saved position") {
  Rng rng(0xfedcba9876543210);
  rng = rng.fork(1);
  for (int i = 0; i < 5; ++i) rng.next_u64();
  const SafetensorsFile file = file_with({{"rng", rng_to_tensor(rng)}});
  const Tensor state = rng_to_tensor(Rng(0));
  load_into(file, {{"rng", state}});
  Rng other(0);
  rng_from_tensor(other, state);
  CHECK(other.state() == rng.state());
  CHECK(other.next_u64() == rng.next_u64());
  CHECK(message_of<StateError>([&] { rng_from_tensor(other, zeros({3})); }) ==
        "rng_from_tensor: f32 (3,): must be i64 (3,)");
  CHECK(message_of<StateError>([&] { rng_from_tensor(other, zeros({2}, DType::i64)); }) ==
        "rng_from_tensor: i64 (2,): must be i64 (3,)");
  CHECK(message_of<StateError>([&] {
          rng_from_tensor(other, from_data(std::vector<int64_t>{1, 2, -3}, {3}));
        }) == "rng_from_tensor: position = -3: must not be negative");
}
