#include "embedder.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "errors.h"
#include "handle.h"
#include "options.h"
#include "promise_worker.h"

namespace stator {
namespace {

struct BatchFree {
  void operator()(llama_batch* batch) const {
    llama_batch_free(*batch);
    delete batch;
  }
};

bool shouldAbort(void* stopping) { return static_cast<std::atomic<bool>*>(stopping)->load(std::memory_order_relaxed); }

void append(std::vector<float>& to, const float* vector, uint32_t dimensions, bool normalize) {
  double squares = 0;
  for (uint32_t i = 0; i < dimensions; ++i) squares += static_cast<double>(vector[i]) * vector[i];
  const double scale = normalize && squares > 0 ? 1 / std::sqrt(squares) : 1;
  for (uint32_t i = 0; i < dimensions; ++i) to.push_back(static_cast<float>(vector[i] * scale));
}

}  // namespace

Embedder::Embedder(std::shared_ptr<Model> model, EmbedderOptions options) : model_(std::move(model)), options_(options) {
  if (model_->vocabOnly()) throw invalid("model", model_->path() + " was loaded without weights.");
  llama_context_params params = llama_context_default_params();
  // Attention without a causal mask needs an input whole in one physical batch.
  params.n_ctx = options_.batchTokens;
  params.n_batch = options_.batchTokens;
  params.n_ubatch = options_.batchTokens;
  params.n_seq_max = options_.maxSequences;
  params.n_threads = options_.threads;
  params.n_threads_batch = options_.threads;
  params.pooling_type = options_.pooling;
  params.embeddings = true;
  params.kv_unified = true;
  params.no_perf = true;
  params.abort_callback = shouldAbort;
  params.abort_callback_data = &stopping_;
  context_.reset(llama_init_from_model(model_->get(), params));
  if (!context_) throw invalid("model", "llama.cpp cannot create an embedding context for " + model_->path() + "; its log says why.");
  if (pooling() == LLAMA_POOLING_TYPE_NONE) throw invalid("pooling", model_->path() + " names no pooling; choose mean, cls or last.");
  dimensions_ = pooling() == LLAMA_POOLING_TYPE_RANK ? std::max(1u, llama_model_n_cls_out(model_->get())) : static_cast<uint32_t>(llama_model_n_embd_out(model_->get()));
}

std::vector<float> Embedder::run(const std::vector<std::vector<llama_token>>& inputs, bool normalize) {
  std::lock_guard lock(mutex_);
  std::vector<float> result;
  result.reserve(inputs.size() * dimensions_);
  for (size_t first = 0; first < inputs.size();) first = pass(inputs, first, normalize, result);
  return result;
}

size_t Embedder::pass(const std::vector<std::vector<llama_token>>& inputs, size_t first, bool normalize, std::vector<float>& to) {
  if (stopping_.load()) throw CodedError("not_ready", "", "The engine has stopped.");
  const std::unique_ptr<llama_batch, BatchFree> batch(new llama_batch(llama_batch_init(static_cast<int32_t>(options_.batchTokens), 0, 1)));
  size_t end = first;
  while (end < inputs.size() && end - first < options_.maxSequences) {
    if (static_cast<size_t>(batch->n_tokens) + inputs[end].size() > options_.batchTokens) break;
    for (size_t i = 0; i < inputs[end].size(); ++i) {
      const int32_t row = batch->n_tokens++;
      batch->token[row] = inputs[end][i];
      batch->pos[row] = static_cast<llama_pos>(i);
      batch->n_seq_id[row] = 1;
      batch->seq_id[row][0] = static_cast<llama_seq_id>(end - first);
      batch->logits[row] = 1;
    }
    ++end;
  }
  if (end == first) throw invalid("inputs", "Input " + std::to_string(first) + " has more than " + std::to_string(options_.batchTokens) + " tokens.");
  if (llama_memory_t memory = llama_get_memory(context_.get())) llama_memory_clear(memory, false);
  const bool encoder = llama_model_has_encoder(model_->get()) && !llama_model_has_decoder(model_->get());
  const int status = encoder ? llama_encode(context_.get(), *batch) : llama_decode(context_.get(), *batch);
  if (stopping_.load()) throw CodedError("not_ready", "", "The engine has stopped.");
  if (status != 0) throw CodedError("engine_failed", "", "llama.cpp could not compute a batch (status " + std::to_string(status) + ").");
  for (size_t i = first; i < end; ++i) {
    const float* vector = llama_get_embeddings_seq(context_.get(), static_cast<llama_seq_id>(i - first));
    if (vector == nullptr) throw CodedError("engine_failed", "", "llama.cpp returned no embedding.");
    append(to, vector, dimensions_, normalize);
  }
  return end;
}

Napi::Value embedderCreate(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    auto model = modelFrom(info[0]);
    const Napi::Object from = info[1].As<Napi::Object>();
    EmbedderOptions options;
    options.batchTokens = from.Get("batchTokens").As<Napi::Number>();
    options.maxSequences = from.Get("maxSequences").As<Napi::Number>();
    options.threads = from.Get("threads").As<Napi::Number>();
    options.pooling = static_cast<enum llama_pooling_type>(from.Get("pooling").As<Napi::Number>().Int32Value());
    return PromiseWorker<std::shared_ptr<Embedder>>::start(
        env, [model = std::move(model), options] { return std::make_shared<Embedder>(model, options); },
        [](Napi::Env to, std::shared_ptr<Embedder>& embedder) -> Napi::Value { return share(to, std::move(embedder), kEmbedderTag); });
  });
}

Napi::Value embedderInfo(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const auto embedder = shareFrom<Embedder>(info[0], kEmbedderTag, "embedder");
    Napi::Object result = Napi::Object::New(env);
    result.Set("dimensions", embedder->dimensions());
    result.Set("pooling", static_cast<int>(embedder->pooling()));
    return result;
  });
}

Napi::Value embedderRun(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    auto embedder = shareFrom<Embedder>(info[0], kEmbedderTag, "embedder");
    const std::vector<llama_token> tokens = tokensFrom(info[1]);
    const std::vector<llama_token> lengths = tokensFrom(info[2]);
    const bool normalize = info[3].As<Napi::Boolean>();
    std::vector<std::vector<llama_token>> inputs;
    size_t start = 0;
    for (const llama_token length : lengths) {
      const auto size = static_cast<size_t>(length);
      if (size == 0 || size > tokens.size() - start) throw Napi::RangeError::New(env, "lengths do not fit the token ids");
      inputs.emplace_back(tokens.begin() + static_cast<ptrdiff_t>(start), tokens.begin() + static_cast<ptrdiff_t>(start + size));
      start += size;
    }
    return PromiseWorker<std::vector<float>>::start(
        env, [embedder = std::move(embedder), inputs = std::move(inputs), normalize] { return embedder->run(inputs, normalize); },
        [](Napi::Env to, std::vector<float>& values) -> Napi::Value {
          auto array = Napi::Float32Array::New(to, values.size());
          if (!values.empty()) std::memcpy(array.Data(), values.data(), values.size() * sizeof(float));
          return array;
        });
  });
}

Napi::Value embedderStop(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    auto& owner = ownerFrom<Embedder>(info[0], kEmbedderTag, "embedder");
    if (owner) owner->stop();
    owner.reset();
    return env.Undefined();
  });
}

}  // namespace stator
