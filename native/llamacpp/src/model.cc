#include "model.h"

#include <ggml-backend.h>

#include <mutex>
#include <utility>
#include <vector>

#include "errors.h"
#include "gguf_check.h"
#include "handle.h"
#include "log.h"
#include "promise_worker.h"

namespace stator {
namespace {

bool onProgress(float, void* data) { return !static_cast<const std::atomic<bool>*>(data)->load(std::memory_order_relaxed); }

std::string metadataText(const llama_model* model, int32_t index, bool value) {
  const auto read = value ? llama_model_meta_val_str_by_index : llama_model_meta_key_by_index;
  std::string text(256, '\0');
  const int32_t length = read(model, index, text.data(), text.size());
  if (length < 0) return {};
  if (static_cast<size_t>(length) >= text.size()) {
    text.assign(static_cast<size_t>(length) + 1, '\0');
    read(model, index, text.data(), text.size());
  }
  text.resize(static_cast<size_t>(length));
  return text;
}

Napi::Object metadata(Napi::Env env, const llama_model* model) {
  Napi::Object map = Napi::Object::New(env);
  for (int32_t i = 0; i < llama_model_meta_count(model); ++i) {
    map.Set(metadataText(model, i, false), Napi::String::New(env, metadataText(model, i, true)));
  }
  return map;
}

}  // namespace

Model::Model(std::unique_ptr<llama_model, ModelFree> model, std::string path, bool vocabOnly)
    : model_(std::move(model)), path_(std::move(path)), vocabOnly_(vocabOnly) {}

std::shared_ptr<Model> loadModel(const ModelOptions& options, const std::atomic<bool>& cancelled) {
  checkGguf(options.path);
  llama_model_params params = llama_model_default_params();
  params.vocab_only = options.vocabOnly;
  params.n_gpu_layers = options.gpuLayers;
  params.load_mode = options.useMmap ? LLAMA_LOAD_MODE_MMAP : LLAMA_LOAD_MODE_NONE;
  params.check_tensors = false;
  params.progress_callback = onProgress;
  params.progress_callback_user_data = const_cast<std::atomic<bool>*>(&cancelled);
  std::unique_ptr<llama_model, ModelFree> model(llama_model_load_from_file(options.path.c_str(), params));
  if (cancelled.load()) throw CodedError("cancelled", "", "Loading " + options.path + " was cancelled.");
  if (!model) throw invalid("model", options.path + " cannot be loaded by llama.cpp; its log says why.");
  return std::make_shared<Model>(std::move(model), options.path, options.vocabOnly);
}

std::shared_ptr<Model> modelFrom(const Napi::Value& value) { return shareFrom<Model>(value, kModelTag, "model"); }

Napi::Value backendInit(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    installLog();
    AbortGuard::install();
    static std::mutex mutex;
    std::lock_guard lock(mutex);
    static bool loaded = false;
    if (!loaded) {
      llama_backend_init();
      ggml_backend_load_all_from_path(info[0].As<Napi::String>().Utf8Value().c_str());
      loaded = true;
    }
    const Napi::Array extra = info[1].As<Napi::Array>();
    for (uint32_t i = 0; i < extra.Length(); ++i) {
      const std::string library = extra.Get(i).As<Napi::String>();
      if (ggml_backend_load(library.c_str()) == nullptr) throw CodedError("not_ready", "gpuLayers", "The compute library " + library + " cannot be loaded; llama.cpp's log says why.");
    }
    Napi::Array devices = Napi::Array::New(env);
    for (size_t i = 0; i < ggml_backend_dev_count(); ++i) {
      devices.Set(static_cast<uint32_t>(i), Napi::String::New(env, ggml_backend_dev_name(ggml_backend_dev_get(i))));
    }
    return devices;
  });
}

Napi::Value modelLoad(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const Napi::Object from = info[0].As<Napi::Object>();
    ModelOptions options;
    options.path = from.Get("path").As<Napi::String>().Utf8Value();
    options.vocabOnly = from.Get("vocabOnly").As<Napi::Boolean>();
    options.gpuLayers = from.Get("gpuLayers").As<Napi::Number>();
    options.useMmap = from.Get("useMmap").As<Napi::Boolean>();
    // A flag that JavaScript sets through an Int32Array would need shared memory; a load runs to its end or fails.
    return PromiseWorker<std::shared_ptr<Model>>::start(
        env,
        [options] {
          const std::atomic<bool> cancelled{false};
          return loadModel(options, cancelled);
        },
        [](Napi::Env result, std::shared_ptr<Model>& model) -> Napi::Value { return share(result, std::move(model), kModelTag); });
  });
}

Napi::Value modelInfo(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const auto model = modelFrom(info[0]);
    const llama_model* raw = model->get();
    char description[128] = {};
    llama_model_desc(raw, description, sizeof description);
    Napi::Object result = Napi::Object::New(env);
    result.Set("description", description);
    result.Set("release", llama_version());
    result.Set("trainedContextLength", llama_model_n_ctx_train(raw));
    result.Set("embeddingDimensions", llama_model_n_embd_out(raw));
    result.Set("layers", llama_model_n_layer(raw));
    result.Set("slidingWindow", llama_model_n_swa(raw));
    result.Set("parameters", static_cast<double>(llama_model_n_params(raw)));
    result.Set("bytes", static_cast<double>(llama_model_size(raw)));
    result.Set("hasEncoder", llama_model_has_encoder(raw));
    result.Set("hasDecoder", llama_model_has_decoder(raw));
    result.Set("recurrent", llama_model_is_recurrent(raw) || llama_model_is_hybrid(raw));
    result.Set("metadata", metadata(env, raw));
    return result;
  });
}

Napi::Value modelFree(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    release<Model>(info[0], kModelTag, "model");
    return env.Undefined();
  });
}

}  // namespace stator
