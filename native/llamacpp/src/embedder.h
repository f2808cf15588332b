#pragma once

#include <llama.h>
#include <napi.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "model.h"

namespace stator {

struct EmbedderOptions {
  uint32_t batchTokens = 0;   // most tokens of one pass, and so of one input
  uint32_t maxSequences = 1;  // inputs of one pass
  int32_t threads = 1;
  enum llama_pooling_type pooling = LLAMA_POOLING_TYPE_UNSPECIFIED;
};

// A context that turns inputs into one vector each (or a score, with rank pooling). One call at a time.
class Embedder {
 public:
  Embedder(std::shared_ptr<Model> model, EmbedderOptions options);

  // Vectors of the inputs one after the other, each `dimensions()` long. Throws CodedError.
  std::vector<float> run(const std::vector<std::vector<llama_token>>& inputs, bool normalize);

  uint32_t dimensions() const { return dimensions_; }
  enum llama_pooling_type pooling() const { return llama_pooling_type(context_.get()); }
  // Ends a running pass; later runs fail.
  void stop() { stopping_.store(true); }

 private:
  struct ContextFree {
    void operator()(llama_context* context) const { llama_free(context); }
  };

  // Computes inputs from `first` as far as they fit in one pass; returns the index after the last.
  size_t pass(const std::vector<std::vector<llama_token>>& inputs, size_t first, bool normalize, std::vector<float>& to);

  std::shared_ptr<Model> model_;
  EmbedderOptions options_;
  std::atomic<bool> stopping_{false};
  std::unique_ptr<llama_context, ContextFree> context_;
  std::mutex mutex_;
  uint32_t dimensions_ = 0;
};

// embedderCreate(model, options): Promise<EmbedderHandle>
Napi::Value embedderCreate(const Napi::CallbackInfo& info);
// embedderInfo(embedder): dimensions and pooling
Napi::Value embedderInfo(const Napi::CallbackInfo& info);
// embedderRun(embedder, tokenIds, lengths, normalize): Promise<Float32Array>
Napi::Value embedderRun(const Napi::CallbackInfo& info);
// embedderStop(embedder): ends a running pass and drops this handle's share
Napi::Value embedderStop(const Napi::CallbackInfo& info);

}  // namespace stator
