#pragma once

#include <llama.h>
#include <napi.h>

#include <atomic>
#include <memory>
#include <string>

namespace stator {

struct ModelFree {
  void operator()(llama_model* model) const { llama_model_free(model); }
};

// A loaded GGUF file, shared by everything that uses it; freed with its last user.
class Model {
 public:
  Model(std::unique_ptr<llama_model, ModelFree> model, std::string path, bool vocabOnly);

  llama_model* get() const { return model_.get(); }
  const llama_vocab* vocab() const { return llama_model_get_vocab(model_.get()); }
  int32_t vocabSize() const { return llama_vocab_n_tokens(vocab()); }
  const std::string& path() const { return path_; }
  bool vocabOnly() const { return vocabOnly_; }

 private:
  std::unique_ptr<llama_model, ModelFree> model_;
  std::string path_;
  bool vocabOnly_;
};

struct ModelOptions {
  std::string path;
  bool vocabOnly = false;
  int32_t gpuLayers = 0;
  bool useMmap = true;
};

// Loads a file after checkGguf. `cancelled` is looked at while tensors load. Throws CodedError.
std::shared_ptr<Model> loadModel(const ModelOptions& options, const std::atomic<bool>& cancelled);

// The model behind a handle; throws if it is another kind of handle.
std::shared_ptr<Model> modelFrom(const Napi::Value& value);

// backendInit(librariesDir, extraLibraries): loads ggml's compute back ends once a process; returns the devices' names.
Napi::Value backendInit(const Napi::CallbackInfo& info);
// modelLoad(options): Promise<ModelHandle>
Napi::Value modelLoad(const Napi::CallbackInfo& info);
// modelInfo(handle): sizes and metadata
Napi::Value modelInfo(const Napi::CallbackInfo& info);
// modelFree(handle): drops this handle's share at once instead of at garbage collection
Napi::Value modelFree(const Napi::CallbackInfo& info);

}  // namespace stator
