#include "engine.h"

#include <algorithm>

#include "abort_guard.h"
#include "gguf_check.h"

namespace stator {
namespace {

// Physical batch of llama.cpp; larger ones only grow its compute buffers.
constexpr uint32_t kMaxUbatch = 512;

bool shouldAbort(void* stopping) { return static_cast<std::atomic<bool>*>(stopping)->load(std::memory_order_relaxed); }

std::string scopeOf(const std::string& adapter, const std::string& salt) { return adapter + '\0' + salt; }

}  // namespace

Engine::Sequence::Sequence(const llama_vocab* vocab, Request from)
    : request(std::move(from)),
      tokens(request.tokens),
      sampler(std::make_unique<Sampler>(vocab, request.sampling)),
      scope(scopeOf(request.adapter, request.cacheSalt)),
      hasher(request.adapter, request.cacheSalt),
      submitted(Clock::now()) {
  const size_t prompt = tokens.size() - request.resumedOutputTokens;
  for (size_t i = 0; i < tokens.size(); ++i) sampler->accept(tokens[i], i >= prompt);
}

Engine::Engine(std::shared_ptr<Model> model, EngineOptions options)
    : model_(std::move(model)), options_(options), context_(createContext()), cache_(llama_get_memory(context_.get()), cacheOptions()) {
  batch_ = llama_batch_init(static_cast<int32_t>(options_.batchTokens), 0, 1);
  for (auto slot = static_cast<llama_seq_id>(options_.maxSequences); slot-- > 0;) freeSlots_.push_back(slot);
  for (llama_token token = 0; token < model_->vocabSize(); ++token) {
    if (llama_vocab_is_eog(model_->vocab(), token)) endOfGeneration_.push_back(token);
  }
}

Engine::~Engine() {
  stop();
  llama_batch_free(batch_);
}

Engine::Context Engine::createContext() {
  if (model_->vocabOnly()) throw invalid("model", model_->path() + " was loaded without weights.");
  if (!llama_model_has_decoder(model_->get())) throw invalid("model", model_->path() + " is an encoder: it embeds but does not generate.");
  llama_context_params params = llama_context_default_params();
  params.n_ctx = options_.kvCells;
  params.n_batch = options_.batchTokens;
  params.n_ubatch = std::min(options_.batchTokens, kMaxUbatch);
  params.n_seq_max = options_.maxSequences;
  params.n_threads = options_.threads;
  params.n_threads_batch = options_.threads;
  params.flash_attn_type = options_.flashAttention;
  params.type_k = options_.keyType;
  params.type_v = options_.valueType;
  params.offload_kqv = options_.offloadKv;
  params.abort_callback = shouldAbort;
  params.abort_callback_data = &stopping_;
  // Blocks are shared between sequences, and a sliding window must not drop cells that other prompts continue.
  params.kv_unified = true;
  params.swa_full = true;
  params.no_perf = true;
  Context context(llama_init_from_model(model_->get(), params));
  if (!context) throw invalid("model", "llama.cpp cannot create a context for " + model_->path() + "; its log says why (memory, or KV types without flash attention).");
  if (llama_get_memory(context.get()) == nullptr) throw invalid("model", model_->path() + " has no KV cache: it does not generate.");
  return context;
}

KvCacheOptions Engine::cacheOptions() const {
  llama_model* model = model_->get();
  KvCacheOptions cache;
  cache.cells = llama_n_ctx(context_.get());
  cache.blockSize = options_.blockSize;
  cache.maxSequences = options_.maxSequences;
  cache.slidingWindow = static_cast<uint32_t>(std::max(0, llama_model_n_swa(model)));
  char architecture[32] = {};
  llama_model_meta_val_str(model, "general.architecture", architecture, sizeof architecture);
  // Recurrent states cannot be cut; llama4 attends in chunks, whose borders the lanes do not know.
  cache.enabled = !llama_model_is_recurrent(model) && !llama_model_is_hybrid(model) && std::string(architecture) != "llama4";
  return cache;
}

void Engine::start(Sink sink) {
  sink_ = std::move(sink);
  thread_ = std::thread([this] { run(); });
}

bool Engine::submit(Request request) {
  auto sequence = std::make_unique<Sequence>(model_->vocab(), std::move(request));
  std::lock_guard lock(mutex_);
  if (closed_) return false;
  sequence->arrival = ++arrivals_;
  submissions_.push_back(std::move(sequence));
  wake_.notify_one();
  return true;
}

void Engine::cancel(uint32_t handle) {
  std::lock_guard lock(mutex_);
  cancellations_.push_back(handle);
  wake_.notify_one();
}

bool Engine::enqueue(Task task) {
  std::lock_guard lock(mutex_);
  if (closed_) return false;
  tasks_.push_back(std::move(task));
  wake_.notify_one();
  return true;
}

void Engine::stop() {
  std::lock_guard once(stopMutex_);
  stopping_.store(true);
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    wake_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void Engine::run() {
  const AbortGuard guard;
  try {
    while (takeCommands()) {
      admit();
      if (!running_.empty()) compute();
      flush();
    }
  } catch (const std::exception& error) {
    failAll(error.what());
  }
  close();
}

// Waits until there is something to do and applies what arrived. False once the engine stops.
bool Engine::takeCommands() {
  Sequences submissions;
  std::vector<uint32_t> cancellations;
  std::deque<Task> tasks;
  {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] {
      return stopping_.load() || !submissions_.empty() || !cancellations_.empty() || !tasks_.empty() || !running_.empty() || !waiting_.empty();
    });
    if (stopping_.load()) return false;
    submissions.swap(submissions_);
    cancellations.swap(cancellations_);
    tasks.swap(tasks_);
  }
  for (auto& sequence : submissions) enter(std::move(sequence));
  for (const uint32_t handle : cancellations) cancelOne(handle);
  removeFinished();
  for (Task& task : tasks) {
    step_.completions.push_back(task(*this));
    flush();
  }
  return true;
}

void Engine::enter(std::unique_ptr<Sequence> sequence) {
  const std::string& name = sequence->request.adapter;
  if (!name.empty()) {
    const auto found = adapters_.find(name);
    if (found == adapters_.end()) {
      finish(*sequence, FinishReason::kError, {}, ErrorInfo{"not_found", "adapter", "Adapter " + name + " is not loaded."});
      return;
    }
    sequence->adapter = found->second;
  }
  enqueueWaiting(std::move(sequence));
}

void Engine::enqueueWaiting(std::unique_ptr<Sequence> sequence) {
  const auto place = std::upper_bound(waiting_.begin(), waiting_.end(), sequence, [](const auto& a, const auto& b) {
    return a->request.priority != b->request.priority ? a->request.priority > b->request.priority : a->arrival < b->arrival;
  });
  waiting_.insert(place, std::move(sequence));
}

void Engine::cancelOne(uint32_t handle) {
  for (Sequences* list : {&running_, &waiting_}) {
    for (auto& sequence : *list) {
      if (sequence->request.handle == handle && !sequence->done) finish(*sequence, FinishReason::kCancelled);
    }
  }
}

void Engine::finish(Sequence& sequence, FinishReason reason, std::optional<llama_token> stopToken, std::optional<ErrorInfo> error) {
  sequence.done = true;
  if (sequence.kv.slot >= 0) {
    cache_.detach(sequence.kv);
    freeSlots_.push_back(sequence.kv.slot);
    sequence.kv.slot = -1;
  }
  step_.finished.push_back({sequence.request.handle, reason, stopToken, std::move(error), static_cast<uint32_t>(sequence.request.tokens.size()), sequence.output, sequence.cachedTokens});
}

void Engine::removeFinished() {
  for (Sequences* list : {&running_, &waiting_}) {
    std::erase_if(*list, [](const auto& sequence) { return sequence->done; });
  }
}

// Sends what happened since the last call, in order.
void Engine::flush() {
  step_.kv = cache_.takeChanges();
  if (step_.empty()) return;
  step_.load.runningSequences = static_cast<uint32_t>(running_.size());
  step_.load.queuedSequences = static_cast<uint32_t>(waiting_.size());
  for (const auto& sequence : waiting_) step_.load.queuedTokens += sequence->tokens.size();
  step_.load.pendingPrefillTokens = step_.load.queuedTokens;
  for (const auto& sequence : running_) {
    if (!sequence->prefilled) step_.load.pendingPrefillTokens += sequence->pending();
  }
  step_.load.activeBlocks = cache_.activeBlocks();
  step_.load.cachedBlocks = cache_.cachedBlocks();
  sink_(std::move(step_));
  step_ = Step{};
}

void Engine::failAll(const std::string& message) {
  const ErrorInfo error{"engine_failed", "", "The engine failed: " + message};
  for (Sequences* list : {&running_, &waiting_}) {
    for (auto& sequence : *list) {
      if (sequence->done) continue;
      sequence->kv.slot = -1;  // the cache is not trusted any more
      finish(*sequence, FinishReason::kError, {}, error);
    }
  }
  running_.clear();
  waiting_.clear();
  step_.fatal = message;
  flush();
}

// Runs the tasks that are left, so that every promise settles, and takes no more.
void Engine::close() {
  std::deque<Task> tasks;
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    tasks.swap(tasks_);
  }
  for (Task& task : tasks) step_.completions.push_back(task(*this));
  flush();
}

bool Engine::loadAdapter(const std::string& name, const std::string& path, float scale) {
  if (adapters_.contains(name)) return true;
  checkGguf(path);
  auto adapter = std::make_shared<Adapter>();
  adapter->name = name;
  adapter->scale = scale;
  adapter->lora.reset(llama_adapter_lora_init(model_->get(), path.c_str()));
  if (!adapter->lora) throw invalid("adapter", path + " is not an adapter for this model; llama.cpp's log says why.");
  adapters_.emplace(name, std::move(adapter));
  return false;
}

void Engine::unloadAdapter(const std::string& name) {
  const auto found = adapters_.find(name);
  if (found == adapters_.end()) throw CodedError("not_found", "name", "Adapter " + name + " is not loaded.");
  for (const Sequences* list : {&running_, &waiting_}) {
    for (const auto& sequence : *list) {
      if (sequence->adapter == found->second) throw CodedError("conflict", "name", "Adapter " + name + " is in use.");
    }
  }
  cache_.clear(scopeOf(name, ""));
  if (contextAdapter_ == found->second.get()) {
    llama_set_adapters_lora(context_.get(), nullptr, 0, nullptr);
    contextAdapter_ = nullptr;
  }
  if (stepAdapter_ == found->second) stepAdapter_.reset();
  adapters_.erase(found);
}

}  // namespace stator
