// "hccl" without a card: a gloo group that is handed the host's view of each tensor, after HCCL's
// own limits are checked.
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/utils/pybind.h>

#include "host.h"

namespace standin {
namespace {
using c10d::ReduceOp;
using Work = c10::intrusive_ptr<c10d::Work>;
using Tensors = std::vector<at::Tensor>;

at::Tensor seen(const at::Tensor& tensor) {
  TORCH_CHECK(
      tensor.device().type() == kNPU, "hccl: No backend type associated with device type ",
      tensor.device());
  TORCH_CHECK(tensor.is_contiguous(), "hccl: Tensors must be contiguous");
  TORCH_CHECK(
      tensor.scalar_type() != at::kDouble && !tensor.is_complex(), "HCCL: Unsupported data type ",
      tensor.scalar_type());
  return host(tensor);
}
Tensors seen(const Tensors& tensors) {
  Tensors out;
  for (const auto& tensor : tensors) out.push_back(seen(tensor));
  return out;
}
std::vector<Tensors> seen(const std::vector<Tensors>& lists) {
  std::vector<Tensors> out;
  for (const auto& list : lists) out.push_back(seen(list));
  return out;
}

struct HCCL final : c10d::Backend {
  c10::intrusive_ptr<c10d::Backend> gloo;
  explicit HCCL(c10::intrusive_ptr<c10d::Backend> group)
      : Backend(group->getRank(), group->getSize()), gloo(std::move(group)) {}
  const std::string getBackendName() const override { return "hccl"; }

  // gloo has no average: it sums, and the sum is divided here.
  template <class Call>
  Work reduced(ReduceOp& op, const Tensors& out, Call&& call) {
    TORCH_CHECK(
        op != ReduceOp::BAND && op != ReduceOp::BOR && op != ReduceOp::BXOR,
        "Cannot use bitwise ReduceOps with HCCL");
    const bool average = op == ReduceOp::AVG;
    if (average) op = ReduceOp::SUM;
    auto work = call();
    if (average) {
      work->wait();
      for (auto tensor : out) tensor.div_(getSize());
    }
    return work;
  }

  Work broadcast(Tensors& tensors, const c10d::BroadcastOptions& options) override {
    auto t = seen(tensors);
    return gloo->broadcast(t, options);
  }
  Work allreduce(Tensors& tensors, const c10d::AllreduceOptions& given) override {
    auto options = given;
    auto t = seen(tensors);
    return reduced(options.reduceOp, t, [&] { return gloo->allreduce(t, options); });
  }
  Work allreduce_coalesced(
      Tensors& tensors, const c10d::AllreduceCoalescedOptions& given) override {
    c10d::AllreduceOptions options;
    options.reduceOp = given.reduceOp;
    options.timeout = given.timeout;
    Work work;
    for (auto& tensor : tensors) {
      Tensors one{tensor};
      work = allreduce(one, options);
      work->wait();
    }
    return work;
  }
  Work reduce(Tensors& tensors, const c10d::ReduceOptions& given) override {
    auto options = given;
    auto t = seen(tensors);
    return reduced(options.reduceOp, t, [&] { return gloo->reduce(t, options); });
  }
  Work allgather(
      std::vector<Tensors>& out, Tensors& in, const c10d::AllgatherOptions& options) override {
    auto o = seen(out);
    auto i = seen(in);
    return gloo->allgather(o, i, options);
  }
  Work _allgather_base(
      at::Tensor& out, at::Tensor& in, const c10d::AllgatherOptions& options) override {
    auto o = seen(out);
    auto i = seen(in);
    return gloo->_allgather_base(o, i, options);
  }
  Work allgather_into_tensor_coalesced(
      Tensors& out, Tensors& in, const c10d::AllgatherOptions& options) override {
    auto o = seen(out);
    auto i = seen(in);
    return gloo->allgather_into_tensor_coalesced(o, i, options);
  }
  Work gather(
      std::vector<Tensors>& out, Tensors& in, const c10d::GatherOptions& options) override {
    auto o = seen(out);
    auto i = seen(in);
    return gloo->gather(o, i, options);
  }
  Work scatter(
      Tensors& out, std::vector<Tensors>& in, const c10d::ScatterOptions& options) override {
    auto o = seen(out);
    auto i = seen(in);
    return gloo->scatter(o, i, options);
  }
  Work reduce_scatter(
      Tensors& out, std::vector<Tensors>& in, const c10d::ReduceScatterOptions& given) override {
    auto options = given;
    auto o = seen(out);
    auto i = seen(in);
    return reduced(options.reduceOp, o, [&] { return gloo->reduce_scatter(o, i, options); });
  }
  Work _reduce_scatter_base(
      at::Tensor& out, at::Tensor& in, const c10d::ReduceScatterOptions& given) override {
    auto options = given;
    auto o = seen(out);
    auto i = seen(in);
    return reduced(options.reduceOp, {o}, [&] { return gloo->_reduce_scatter_base(o, i, options); });
  }
  Work reduce_scatter_tensor_coalesced(
      Tensors& out, Tensors& in, const c10d::ReduceScatterOptions& given) override {
    auto options = given;
    auto o = seen(out);
    auto i = seen(in);
    return reduced(
        options.reduceOp, o, [&] { return gloo->reduce_scatter_tensor_coalesced(o, i, options); });
  }
  Work alltoall_base(
      at::Tensor& out, at::Tensor& in, std::vector<int64_t>& out_sizes,
      std::vector<int64_t>& in_sizes, const c10d::AllToAllOptions& options) override {
    auto o = seen(out);
    auto i = seen(in);
    return gloo->alltoall_base(o, i, out_sizes, in_sizes, options);
  }
  Work alltoall(Tensors& out, Tensors& in, const c10d::AllToAllOptions& options) override {
    auto o = seen(out);
    auto i = seen(in);
    return gloo->alltoall(o, i, options);
  }
  Work send(Tensors& tensors, int to, int tag) override {
    auto t = seen(tensors);
    return gloo->send(t, to, tag);
  }
  Work recv(Tensors& tensors, int from, int tag) override {
    auto t = seen(tensors);
    return gloo->recv(t, from, tag);
  }
  // torch_npu calls this for torch.distributed.batch_isend_irecv.
  Work batch_isend_irecv(
      std::vector<std::string> kinds, Tensors tensors, std::vector<int64_t> peers) {
    std::vector<Work> all;
    for (size_t i = 0; i < kinds.size(); ++i) {
      Tensors one{tensors[i]};
      all.push_back(kinds[i] == "isend" ? send(one, peers[i], 0) : recv(one, peers[i], 0));
    }
    for (auto& work : all) work->wait();
    struct Done final : c10d::Work {
      Done() { finish(); }
    };
    return c10::make_intrusive<Done>();
  }
  Work barrier(const c10d::BarrierOptions& options) override { return gloo->barrier(options); }
};
}  // namespace

void bind_hccl(pybind11::module& module) {
  namespace py = pybind11;
  py::module_::import("torch.distributed");
  py::class_<HCCL, c10d::Backend, c10::intrusive_ptr<HCCL>>(module, "HCCL")
      .def(
          "batch_isend_irecv", &HCCL::batch_isend_irecv,
          py::call_guard<py::gil_scoped_release>());
  module.def("hccl_over", [](c10::intrusive_ptr<c10d::Backend> group) {
    return c10::make_intrusive<HCCL>(std::move(group));
  });
}
}  // namespace standin
