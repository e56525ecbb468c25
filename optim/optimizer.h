// Optimizer: base class of all optimizers. It takes named tensors and does not depend on modules.
//
//   optim::Adam adam(model.parameters(), {.lr = 1e-3});
//   adam.zero_grad();
//   loss.backward();
//   adam.step();
#pragma once

#include <fovea/core/state.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fovea::optim {

/// Parameters with the same settings. Tied parameters, listed under several names, are trained
/// once, under the first name. ValueError for a parameter that is in two groups, also as another
/// tensor with the same storage, and for a name that is listed twice.
struct ParameterGroup {
  NamedTensors parameters;
  double lr_scale = 1;                      ///< this group's rate is lr_scale times the optimizer's
  std::optional<double> weight_decay = {};  ///< unset: the optimizer's
};

std::vector<ParameterGroup> one_group(const NamedTensors& parameters);

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // Not copyable: a copy would share its tensors with the original, and both would update them.
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Sets the gradients of all parameters to undefined (PyTorch: set_to_none).
  void zero_grad();

  /// One update of every parameter that has a gradient; the other parameters, and their optimizer
  /// state, do not change.
  void step();

  /// The learning rate of the next step; schedules set it.
  double lr() const { return lr_.data<double>()[0]; }
  void set_lr(double lr);

  /// The complete state of the optimizer except its options: the learning rate ("lr"), the number
  /// of updates of each parameter ("steps") and the method's tensors ("momentum.<parameter>").
  /// These are the tensors themselves, not copies: load_into(file, optimizer.state()) restores the
  /// optimizer, bit for bit.
  NamedTensors state() const;

  /// StateError "kind: source: name = value: must be ..." if `value` cannot be the tensor `name` of
  /// state() after `steps` training steps: NaN, a negative mean of squares, too many updates.
  void check_state(std::string_view source, const std::string& name, const Tensor& value,
                   std::int64_t steps) const;

 protected:
  /// `kind` is the optimizer's name in errors.
  Optimizer(std::string kind, std::vector<ParameterGroup> groups, double lr, double weight_decay);

  /// The arguments of one update.
  struct Update {
    std::size_t index;  ///< of the parameter
    const Tensor& gradient;
    double lr;
    double weight_decay;
    std::int64_t t;  ///< 1 the first time that this parameter is updated
  };
  virtual void update(Tensor& w, const Update& u) = 0;

  /// Zeros in the shape of each parameter, saved by state() under `name`.
  std::vector<Tensor>& add_state(std::string name, bool never_negative = false);

  /// ValueError "kind: what = value: must be ..." where `value` is not in the range, or is NaN.
  void check_not_negative(const char* what, double value) const;
  void check_fraction(const char* what, double value) const;  ///< 0 <= value < 1

  const std::string kind_;

 private:
  struct Slot {
    std::string name;
    Tensor parameter;
    double lr_scale;
    double weight_decay;
  };
  struct Memory {
    std::string name;
    std::vector<Tensor> tensors;  // one for each slot
    bool never_negative;
  };
  void add_group(const ParameterGroup& group, double weight_decay);
  void check_groups() const;

  std::vector<Slot> slots_;
  std::deque<Memory> memories_;  // a deque: references to its elements stay valid
  Tensor lr_;                    // f64 (1)
  Tensor steps_;                 // i64 (number of parameters)
};

}  // namespace fovea::optim
