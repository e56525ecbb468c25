// Module (visit(), names, modes, saving), and the small modules.
#include <fovea/core/autograd.h>
#include <fovea/core/diagnose.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/norm.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/nn/dropout.h>
#include <fovea/nn/embedding.h>
#include <fovea/nn/linear.h>
#include <fovea/nn/module.h>
#include <fovea/nn/norm.h>
#include <fovea/tests/support/compare.h>

#include <filesystem>
#include <type_traits>
#include <unistd.h>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using test::max_difference;
using test::message_of;

namespace {

class Block : public Module {
 public:
  explicit Block(Rng& rng) : proj({.in_features = 3, .out_features = 3}, rng), norm(3) {}
  Tensor operator()(const Tensor& x) const {
    const Scope in(*this);
    return x + norm(proj(x));
  }
  void visit(Visitor& v) override {
    v("proj", proj);
    v("norm", norm);
  }
  Linear proj;
  LayerNorm norm;
};

// One of each kind of member, and a tied table.
class Net : public Module {
 public:
  explicit Net(Rng& rng)
      : embedding({.num_embeddings = 5, .embedding_dim = 3}, rng),
        head({.in_features = 3, .out_features = 5, .bias = false}, rng),
        steps(zeros({1}, DType::i64)),
        drop(0.5, rng) {
    blocks.emplace_back(rng);
    blocks.emplace_back(rng);
    extra.emplace(LinearOptions{.in_features = 3, .out_features = 3, .bias = false}, rng);
    head.weight = embedding.weight;
  }
  Tensor operator()(const Tensor& ids) const {
    const Scope in(*this);
    Tensor x = embedding(ids);
    for (const Block& block : blocks) x = block(x);
    return head(drop((*extra)(x)));
  }
  void visit(Visitor& v) override {
    v("embedding", embedding);
    v("blocks", blocks);
    v("extra", extra);
    v("absent", absent);
    v("pointed", pointed);
    v("head", head);
    v("scale", scale);
    v.buffer("steps", steps);
    v.buffer("cache", cache);
    v("drop", drop);
  }
  Embedding embedding;
  std::vector<Block> blocks;
  std::optional<Linear> extra, absent;
  std::unique_ptr<Linear> pointed;
  Linear head;
  Tensor scale, cache;  // switched off: a parameter and a buffer
  Tensor steps;
  Dropout drop;
};

std::vector<std::string> names_of(const NamedTensors& list) {
  std::vector<std::string> names;
  for (const auto& [name, value] : list) names.push_back(name);
  return names;
}

const std::vector<std::string> net_names{
    "embedding.weight",   "blocks.0.proj.weight", "blocks.0.proj.bias", "blocks.0.norm.weight",
    "blocks.0.norm.bias", "blocks.1.proj.weight", "blocks.1.proj.bias", "blocks.1.norm.weight",
    "blocks.1.norm.bias", "extra.weight"};

}  // namespace

TEST_CASE("parameters are named by path, tied parameters once, absent ones omitted") {
  Rng rng(1);
  Net net(rng);
  CHECK(names_of(net.parameters()) == net_names);
  CHECK(names_of(net.buffers()) == std::vector<std::string>{"steps"});
  CHECK(net.state().size() == net_names.size() + 1);
  CHECK(net.parameter_count() == 15 + 2 * (9 + 3 + 3 + 3) + 9);
  net.absent.emplace(LinearOptions{.in_features = 1, .out_features = 1}, rng);
  net.pointed = std::make_unique<Linear>(LinearOptions{1, 1, false}, rng);
  CHECK(net.parameters().size() == net_names.size() + 3);
}

TEST_CASE("every parameter gets a gradient, and zero_grad clears them") {
  Rng rng(1);
  Net net(rng);
  net.eval();
  const GradientAudit audit;
  const Tensor ids = from_data(std::vector<std::int64_t>{0, 1, 2, 3, 4, 1}, {2, 3});
  const Tensor y = net(ids);
  sum(y * y).backward();
  CHECK(audit.findings(net.parameters()).empty());
  net.zero_grad();
  for (const auto& [name, value] : net.parameters()) CHECK_FALSE(value.grad().defined());
}

TEST_CASE("train and eval reach every child") {
  Rng rng(1);
  Net net(rng);
  CHECK(net.training());
  net.eval();
  CHECK_FALSE(net.drop.training());
  CHECK_FALSE(net.blocks[1].norm.training());
  const Tensor x = ones({4, 3});
  CHECK(max_difference(net.drop(x), x) == 0);
  net.train();
  CHECK(net.drop.training());
  const Tensor dropped = net.drop(ones({1000}));
  for (const float value : dropped.to_vector<float>()) CHECK((value == 0 || value == 2));
}

TEST_CASE("frozen parameters collect no gradient") {
  Rng rng(1);
  Net net(rng);
  net.eval();
  net.blocks[0].freeze();
  CHECK_FALSE(net.blocks[0].proj.weight.requires_grad());
  CHECK(net.blocks[1].proj.weight.requires_grad());
  CHECK(net.summary().find("blocks.0.norm.bias    (3,)               3  frozen\n") !=
        std::string::npos);
  net.freeze(false);
  CHECK(net.blocks[0].proj.weight.requires_grad());
}

TEST_CASE("the summary lists names, shapes and counts") {
  Rng rng(1);
  Linear layer({.in_features = 2, .out_features = 3}, rng);
  CHECK(layer.summary() ==
        "parameter  shape          count\n"
        "weight     (3, 2)             6\n"
        "bias       (3,)               3\n"
        "total                         9\n");
}

TEST_CASE("save and load restore the same values, including buffers") {
  const auto path =
      std::filesystem::temp_directory_path() / fmt::format("fovea_module_{}", getpid());
  Rng rng(1), other_rng(2);
  Net net(rng), other(other_rng);
  net.steps.fill(17);
  save(path, net.state());
  load_into(path, other.state());
  std::filesystem::remove(path);
  const NamedTensors expected = net.state(), found = other.state();
  for (std::size_t i = 0; i < expected.size(); ++i)
    CHECK(max_difference(found[i].second, expected[i].second) == 0);
  CHECK(other.steps.item<int>() == 17);
  CHECK(other.head.weight.raw_data() == other.embedding.weight.raw_data());  // still tied
}

TEST_CASE("errors and recorded ops name the current module") {
  Rng rng(1);
  Net net(rng);
  const auto call = [&] { net.blocks[1].proj(ones({2, 4})); };
  CHECK(message_of<ShapeError>(call).find(", in ") == std::string::npos);
  net.name_tree("model");
  CHECK(net.blocks[1].proj.path() == "model.blocks.1.proj");
  CHECK(message_of<ShapeError>(call).ends_with(", in model.blocks.1.proj"));
  CHECK(message_of<ShapeError>([] { zeros({-1}); }).find(", in ") == std::string::npos);
  const Tensor y = net.blocks[0](ones({2, 3}));
  const std::string dot = graph_to_dot(y, net.parameters());
  CHECK(dot.find("linear in model.blocks.0.proj") != std::string::npos);
  CHECK(dot.find("add in model.blocks.0\\n") != std::string::npos);
  CHECK(dot.find("label=\"blocks.0.norm.weight") != std::string::npos);
}

// std::vector<Linear>(3, layer) would train one layer under three names.
static_assert(!std::is_copy_constructible_v<Linear> && !std::is_copy_assignable_v<Linear>);
static_assert(!std::is_copy_constructible_v<Net> && !std::is_copy_constructible_v<Dropout>);
static_assert(std::is_move_constructible_v<Linear> && std::is_move_assignable_v<Linear>);

TEST_CASE("a moved module keeps parameters and mode, but not the path") {
  Rng rng(1);
  Block block(rng);
  block.name_tree("block");
  block.eval();
  const std::byte* values = block.proj.weight.raw_data();
  Block moved = std::move(block);
  CHECK(moved.proj.weight.raw_data() == values);
  CHECK(moved.path().empty());
  CHECK_FALSE(moved.training());
  CHECK(message_of<StateError>([&] {
          block(ones({2, 3}));
        }) == "linear: weight is undefined, in block.proj");
}

TEST_CASE("an uninitialized member is an error that names it and the module") {
  class Forgetful : public Module {
   public:
    Tensor operator()(const Tensor& x) const {
      const Scope in(*this);
      return layer_norm(x, gain, shift) * scale;
    }
    void visit(Visitor& v) override { v("scale", scale); }
    Tensor gain, shift, scale;
  } net;
  net.name_tree("net");
  CHECK(message_of<StateError>([&] { net(ones({2, 3})); }) == "mul: b is undefined, in net");
}

TEST_CASE("the gradient audit reports the parameters of a child missing in visit()") {
  class Forgetful : public Module {
   public:
    explicit Forgetful(Rng& rng) : listed({3, 3, false}, rng), left_out({3, 4}, rng) {}
    Tensor operator()(const Tensor& x) const { return left_out(listed(x)); }
    void visit(Visitor& v) override { v("listed", listed); }
    Linear listed, left_out;
  };
  Rng rng(1);
  Forgetful net(rng);
  net.left_out.name_tree("left_out");
  const GradientAudit audit;
  sum(square(net(ones({2, 3})))).backward();
  CHECK(audit.report(net.parameters()) ==
        "a leaf (4, 3) that linear in left_out uses is not among the parameters: does visit() name "
        "its module?\n"
        "a leaf (4,) that linear in left_out uses is not among the parameters: does visit() name "
        "its module?\n");
  REQUIRE(audit.findings(net.parameters()).size() == 2);
  CHECK(audit.findings(net.parameters())[0].kind == GradientAudit::Kind::unlisted);
}

TEST_CASE("an embedding's padding row is zero, gets no gradient, and must exist") {
  Rng rng(1);
  const Embedding table({.num_embeddings = 4, .embedding_dim = 2, .padding_idx = 1}, rng);
  const Tensor ids = from_data(std::vector<std::int64_t>{1, 3, 1}, {3});
  const Tensor y = table(ids);
  CHECK(y.to_vector<float>()[0] == 0);
  sum(y).backward();
  CHECK(table.weight.grad().to_vector<float>() == std::vector<float>{0, 0, 0, 0, 0, 0, 1, 1});
  CHECK(message_of<IndexError>([&] {
          Embedding({4, 2, 4}, rng);
        }) == "Embedding: padding_idx = 4: must be -1 or in [0, num_embeddings = 4)");
}

TEST_CASE("linear and layer norm follow their formulas") {
  Rng rng(1);
  Linear layer({.in_features = 2, .out_features = 1}, rng);
  layer.weight.copy_from(tensor({{2, 3}}));
  layer.bias.copy_from(tensor({10}));
  CHECK(layer(tensor({1, 1})).item() == 15);
  CHECK(max_difference(LayerNorm(2)(tensor({1, 3})), tensor({-1, 1})) <= 1e-5);
}
