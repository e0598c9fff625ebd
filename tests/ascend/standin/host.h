// What the kernels and the "hccl" group share: a view of device memory that the host may read.
#pragma once
#include <ATen/ATen.h>

namespace standin {
constexpr auto kNPU = c10::DeviceType::PrivateUse1;
constexpr uintptr_t kTag = uintptr_t(1) << 50;  // TAG of cann_runtime.c

inline at::Tensor host(const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.device().type() != kNPU) return tensor;
  auto storage = tensor.storage();
  void* address = nullptr;
  if (const void* device = tensor.const_data_ptr())
    address = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(device) ^ kTag);
  return at::from_blob(
      address, tensor.sizes(), tensor.strides(), [storage](void*) {},
      tensor.options().device(c10::kCPU));
}
}  // namespace standin
