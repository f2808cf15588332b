#include "reference.h"

#include <llama.h>

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

}  // namespace stator
