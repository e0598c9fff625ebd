// Kernels for torch_npu without a card: every aten operator that torch_npu registered is replaced by
// "check the devices and types, copy to the host, compute there, copy back".
#include <ATen/native/CPUFallback.h>
#include <torch/csrc/utils/pybind.h>
#include <c10/util/ScopeExit.h>
#include <torch/library.h>

#include "host.h"

namespace standin {
namespace {
std::map<std::string, int64_t> calls;  // of each operator that ran
std::map<std::string, int64_t> waits;  // of the host for the device, by cause

thread_local bool computing = false;   // the copies of run_on_host are not the caller's

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool non_blocking) {
  const bool to_host = from.device().type() == kNPU && to.is_cpu();
  if (to_host && !non_blocking && !computing) waits["copy to the host"]++;
  host(to).copy_(host(from));
  return to;
}
at::Tensor& copy_(at::Tensor& to, const at::Tensor& from, bool non_blocking) {
  copy_from(from, to, non_blocking);
  return to;
}
at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  if (to.sizes() != from.sizes()) to.resize_(from.sizes());
  return copy_from(from, to, false);
}
at::Scalar item(const at::Tensor& tensor) {
  waits["item"]++;
  return host(tensor).item();
}

// A card counts whole numbers too, which the host's kernel refuses.
at::Tensor histc(
    const at::Tensor& values, int64_t bins, const at::Scalar& least, const at::Scalar& most) {
  calls["aten::histc"]++;
  const auto counts = at::histc(host(values).to(at::kFloat), bins, least, most);
  return counts.to(values.scalar_type()).to(values.device());
}

void each_tensor(const c10::IValue& value, const std::function<void(const at::Tensor&)>& look) {
  if (value.isTensor()) {
    look(value.toTensor());
  } else if (value.isTensorList()) {
    for (const at::Tensor& tensor : value.toTensorList()) look(tensor);
  } else if (value.isOptionalTensorList()) {
    for (const std::optional<at::Tensor>& tensor : value.toOptionalTensorList())
      if (tensor) look(*tensor);
  }
}

// Tensors must share a device; a number (0 dimensions) or an index may be the host's.
std::optional<c10::Device> check_devices(const std::string& name, at::ArrayRef<c10::IValue> args) {
  std::optional<c10::Device> device, other;
  for (const auto& arg : args)
    each_tensor(arg, [&](const at::Tensor& tensor) {
      if (!tensor.defined()) return;
      if (tensor.device().type() == kNPU) {
        if (!device) device = tensor.device();
        else if (*device != tensor.device() && !other) other = tensor.device();
      } else if (tensor.dim() != 0 && !other) {
        other = tensor.device();
      }
    });
  const bool indexes = name.find("index") != std::string::npos && name != "aten::index_select";
  TORCH_CHECK(
      !device || !other || (other->is_cpu() && indexes),
      "Expected all tensors to be on the same device, but found at least two devices, ",
      device.value_or(c10::Device(kNPU)), " and ", other.value_or(c10::Device(kNPU)),
      "! (when calling ", name, ")");
  return device;
}

// There is no double precision, and the matrix unit takes floating-point numbers only.
void check_types(const std::string& name, at::ArrayRef<c10::IValue> args) {
  static const std::set<std::string> products = {
      "aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::convolution",
      "aten::_convolution", "aten::addmv", "aten::mv", "aten::dot"};
  const bool product = products.count(name) > 0;
  for (const auto& arg : args)
    each_tensor(arg, [&](const at::Tensor& tensor) {
      if (!tensor.defined() || tensor.device().type() != kNPU) return;
      const auto type = tensor.scalar_type();
      const bool multiplies = type == at::kFloat || type == at::kHalf || type == at::kBFloat16;
      TORCH_CHECK(
          type != at::kDouble && (multiplies || !product),
          name, ": dtype ", type, " is not supported on the NPU");
    });
}

// Operators whose result has a size that depends on the data make the host wait.
void count_waits(const std::string& name, at::ArrayRef<c10::IValue> args) {
  static const std::set<std::string> sized = {
      "aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::unique_consecutive",
      "aten::unique_dim", "aten::repeat_interleave"};
  bool waits_here = sized.count(name) > 0;
  if (name == "aten::index" || name == "aten::index_put_" || name == "aten::index_put")
    each_tensor(args[1], [&](const at::Tensor& index) {
      waits_here |= index.defined() && index.scalar_type() == at::kBool;
    });
  if (waits_here) waits[name]++;
}

// A generator of the device is stood for by one of the host with the same seed and place.
void take_host_generator(
    const c10::FunctionSchema& schema, std::optional<c10::Device> device, torch::jit::Stack& stack) {
  const auto count = schema.arguments().size();
  for (size_t i = 0; i < count; ++i) {
    if (schema.arguments()[i].name() != "generator") continue;
    auto& arg = stack[stack.size() - count + i];
    auto generator = arg.isNone()
        ? at::globalContext().defaultGenerator(device.value_or(c10::Device(kNPU, 0)))
        : arg.toGenerator();
    TORCH_CHECK(
        generator.device().type() == kNPU,
        "Expected a 'npu' device type for generator but found '", generator.device(), "'");
    const auto place = generator.get_offset();
    arg = at::detail::createCPUGenerator(generator.current_seed() * 1000003 + place);
    generator.set_offset(place + 4);
  }
}

void run_on_host(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const auto& name = op.operator_name().name;
  const auto args = torch::jit::last(*stack, schema.arguments().size());
  const auto device = check_devices(name, args);
  check_types(name, args);
  count_waits(name, args);
  take_host_generator(schema, device, *stack);
  calls[name]++;
  {
    auto done = c10::make_scope_exit([before = computing] { computing = before; });
    computing = true;
    at::native::cpu_fallback(op, stack);
  }
  check_types(name, torch::jit::last(*stack, schema.returns().size()));
}

std::vector<std::unique_ptr<torch::Library>> libraries;
void replace(const std::vector<std::string>& names) {
  libraries.push_back(std::make_unique<torch::Library>(
      torch::Library::IMPL, "aten", c10::DispatchKey::PrivateUse1, __FILE__, __LINE__));
  auto& library = *libraries.back();
  for (const auto& name : names)
    library.impl(name.c_str(), torch::CppFunction::makeFromBoxedFunction<&run_on_host>());
  library.impl("copy_", copy_);
  library.impl("_copy_from", copy_from);
  library.impl("_copy_from_and_resize", copy_from_and_resize);
  library.impl("_local_scalar_dense", item);
  library.impl("histc", histc);
}

// torch_npu differentiates some operators with kernels of a card. PyTorch's own formula, or the
// operator's decomposition, is what the host's AutogradCPU has; it goes on to the device's kernels.
void by_core(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  op.getComputedKernelForDispatchKey(c10::DispatchKey::AutogradCPU).callBoxed(op, keys, stack);
}
void use_core(const std::vector<std::string>& names, c10::DispatchKey key) {
  libraries.push_back(std::make_unique<torch::Library>(
      torch::Library::IMPL, "aten", key, __FILE__, __LINE__));
  for (const auto& name : names)
    libraries.back()->impl(name.c_str(), torch::CppFunction::makeFromBoxedFunction<&by_core>());
}
void differentiate(const std::vector<std::string>& names) {
  use_core(names, c10::DispatchKey::AutogradPrivateUse1);
}
void decompose(const std::vector<std::string>& names) {
  use_core(names, c10::DispatchKey::AutogradPrivateUse1);
  use_core(names, c10::DispatchKey::PrivateUse1);
}
}  // namespace

void bind_hccl(pybind11::module& module);  // hccl.cpp
}  // namespace standin

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  module.def("replace", &standin::replace, "Register the host's kernel for these aten operators.");
  module.def("differentiate", &standin::differentiate, "Use PyTorch's formula for these.");
  module.def("decompose", &standin::decompose, "Use PyTorch's decomposition of these.");
  module.def("calls", [] { return standin::calls; });
  module.def("waits", [] { return standin::waits; });
  module.def("forget", [] { standin::calls.clear(); standin::waits.clear(); });
  standin::bind_hccl(module);
}
