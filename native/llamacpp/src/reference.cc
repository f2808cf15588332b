#include "reference.h"

#include <llama.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "errors.h"
#include "model.h"
#include "options.h"
#include "promise_worker.h"

namespace stator {
namespace {

std::vector<llama_token> greedy(const Model& model, std::vector<llama_token> tokens, uint32_t count) {
  llama_context_params params = llama_context_default_params();
  params.n_ctx = static_cast<uint32_t>(tokens.size()) + count;
  params.n_batch = static_cast<uint32_t>(tokens.size());
  params.n_threads = 1;
  params.n_threads_batch = 1;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  const std::unique_ptr<llama_context, void (*)(llama_context*)> context(llama_init_from_model(model.get(), params), llama_free);
  const std::unique_ptr<llama_sampler, void (*)(llama_sampler*)> sampler(llama_sampler_init_greedy(), llama_sampler_free);
  if (!context || !sampler) throw CodedError("internal", "", "no reference context");
  std::vector<llama_token> output;
  std::vector<llama_token> input = std::move(tokens);
  while (output.size() < count) {
    if (llama_decode(context.get(), llama_batch_get_one(input.data(), static_cast<int32_t>(input.size()))) != 0) {
      throw CodedError("internal", "", "the reference failed to decode");
    }
    const llama_token token = llama_sampler_sample(sampler.get(), context.get(), -1);
    if (llama_vocab_is_eog(model.vocab(), token)) break;
    output.push_back(token);
    input = {token};
  }
  return output;
}

std::vector<double> copyState(const Model& model, std::vector<llama_token> tokens, uint32_t cells, uint32_t rounds) {
  using Clock = std::chrono::steady_clock;
  constexpr int32_t kBatch = 512;
  llama_context_params params = llama_context_default_params();
  params.n_ctx = cells;
  params.kv_unified = true;
  params.swa_full = true;
  const std::unique_ptr<llama_context, void (*)(llama_context*)> context(llama_init_from_model(model.get(), params), llama_free);
  if (!context) throw CodedError("internal", "", "no reference context");
  for (size_t at = 0; at < tokens.size(); at += kBatch) {
    const auto count = std::min<int32_t>(kBatch, static_cast<int32_t>(tokens.size() - at));
    if (llama_decode(context.get(), llama_batch_get_one(tokens.data() + at, count)) != 0) throw CodedError("internal", "", "the reference failed to decode");
  }
  std::vector<uint8_t> state(llama_state_seq_get_size(context.get(), 0));
  std::vector<double> result = {static_cast<double>(state.size())};
  const auto micros = [](Clock::duration time) { return std::chrono::duration<double, std::micro>(time).count(); };
  for (uint32_t round = 0; round < rounds; ++round) {
    const auto start = Clock::now();
    const bool written = llama_state_seq_get_data(context.get(), state.data(), state.size(), 0) == state.size();
    const auto middle = Clock::now();
    const bool read = llama_state_seq_set_data(context.get(), state.data(), state.size(), 0) == state.size();
    result.push_back(micros(middle - start));
    result.push_back(micros(Clock::now() - middle));
    if (!written || !read) throw CodedError("internal", "", "the reference failed to copy a state");
  }
  return result;
}

}  // namespace

Napi::Value referenceGreedy(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    auto model = modelFrom(info[0]);
    auto tokens = tokensFrom(info[1]);
    const uint32_t count = info[2].As<Napi::Number>();
    return PromiseWorker<std::vector<llama_token>>::start(
        env, [model = std::move(model), tokens = std::move(tokens), count] { return greedy(*model, tokens, count); },
        [](Napi::Env to, std::vector<llama_token>& output) -> Napi::Value {
          auto array = Napi::Uint32Array::New(to, output.size());
          if (!output.empty()) std::memcpy(array.Data(), output.data(), output.size() * sizeof(llama_token));
          return array;
        });
  });
}

Napi::Value referenceState(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    auto model = modelFrom(info[0]);
    auto tokens = tokensFrom(info[1]);
    const uint32_t cells = info[2].As<Napi::Number>();
    const uint32_t rounds = info[3].As<Napi::Number>();
    return PromiseWorker<std::vector<double>>::start(
        env, [model = std::move(model), tokens = std::move(tokens), cells, rounds] { return copyState(*model, tokens, cells, rounds); },
        [](Napi::Env to, std::vector<double>& output) -> Napi::Value {
          auto array = Napi::Float64Array::New(to, output.size());
          std::memcpy(array.Data(), output.data(), output.size() * sizeof(double));
          return array;
        });
  });
}

}  // namespace stator
