#include "engine.h"

#include <algorithm>

#include "abort_guard.h"
#include "gguf_check.h"

namespace stator {
namespace {

// Physical batch of llama.cpp; larger ones only grow its compute buffers.
constexpr uint32_t kMaxUbatch = 512;

bool shouldAbort(void* stopping) { return static_cast<std::atomic<bool>*>(stopping)->load(std::memory_order_relaxed); }

}  // namespace

std::string cacheScope(const std::string& adapter, const std::string& salt) { return adapter + '\0' + salt; }

Engine::Sequence::Sequence(const llama_vocab* vocab, Request from)
    : request(std::move(from)),
      tokens(request.tokens),
      sampler(std::make_unique<Sampler>(vocab, request.sampling)),
      scope(cacheScope(request.adapter, request.cacheSalt)),
      hasher(request.adapter, request.cacheSalt),
      submitted(Clock::now()) {
  const size_t prompt = tokens.size() - request.resumedOutputTokens;
  for (size_t i = 0; i < tokens.size(); ++i) sampler->accept(tokens[i], i >= prompt);
}

Engine::Engine(std::shared_ptr<Model> model, EngineOptions options)
    : model_(std::move(model)),
      options_(std::move(options)),
      context_(createContext()),
      cache_(llama_get_memory(context_.get()), cacheOptions()),
      batch_(llama_batch_init(static_cast<int32_t>(options_.batchTokens), 0, 1)),
      transfers_(context_.get(), cache_, learnFormat(), [this] { wake(); }) {
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
  params.n_seq_max = options_.maxSequences + 1;  // states are written of these only, and the scratch id is the last
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

// Writes the state of one cell, which shows the structure of all. Nothing where blocks cannot be cut out of the cache.
std::optional<KvBlockFormat> Engine::learnFormat() {
  constexpr size_t kDigestBytes = 16;
  const KvCacheOptions cache = cacheOptions();
  const bool whole = cache.slidingWindow == 0 || options_.blockSize <= cache.slidingWindow;
  if (!cache.enabled || !whole || options_.modelDigest.size() < kDigestBytes) return std::nullopt;
  batch_.n_tokens = 1;
  batch_.token[0] = 0;
  batch_.pos[0] = 0;
  batch_.n_seq_id[0] = 1;
  batch_.seq_id[0][0] = cache_.scratch();
  batch_.logits[0] = 0;
  std::vector<uint8_t> probe;
  if (llama_decode(context_.get(), batch_) == 0) {
    probe.resize(llama_state_seq_get_size(context_.get(), cache_.scratch()));
    if (llama_state_seq_get_data(context_.get(), probe.data(), probe.size(), cache_.scratch()) != probe.size()) probe.clear();
  }
  llama_memory_clear(llama_get_memory(context_.get()), false);
  return KvBlockFormat::learn(probe, {options_.modelDigest, options_.keyType, options_.valueType, options_.blockSize});
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

bool Engine::transfer(std::unique_ptr<KvTransfer> transfer) {
  std::lock_guard lock(mutex_);
  if (closed_) return false;
  transferred_.push_back(std::move(transfer));
  wake_.notify_one();
  return true;
}

void Engine::cancelTransfer(uint32_t id) {
  std::lock_guard lock(mutex_);
  transferCancellations_.push_back(id);
  wake_.notify_one();
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

void Engine::wake() {
  std::lock_guard lock(mutex_);
  wake_.notify_one();
}

void Engine::run() {
  const AbortGuard guard;
  try {
    while (takeCommands()) {
      copyBlocks();
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
  std::vector<std::unique_ptr<KvTransfer>> transferred;
  std::vector<uint32_t> transferCancellations;
  {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] {
      const bool computes = !running_.empty() || !waiting_.empty() || transfers_.ready();
      return stopping_.load() || computes || !submissions_.empty() || !cancellations_.empty() || !tasks_.empty() || !transferred_.empty() || !transferCancellations_.empty();
    });
    if (stopping_.load()) return false;
    submissions.swap(submissions_);
    cancellations.swap(cancellations_);
    tasks.swap(tasks_);
    transferred.swap(transferred_);
    transferCancellations.swap(transferCancellations_);
  }
  for (auto& transfer : transferred) {
    if (transfer->adapter.empty() || adapters_.contains(transfer->adapter)) {
      transfers_.add(std::move(transfer));
    } else {
      step_.completions.push_back(transfer->settle(ErrorInfo{"not_found", "adapter", "Adapter " + transfer->adapter + " is not loaded."}, 0));
    }
  }
  for (const uint32_t id : transferCancellations) transfers_.cancel(id, step_.completions);
  for (auto& sequence : submissions) enter(std::move(sequence));
  for (const uint32_t handle : cancellations) cancelOne(handle);
  removeFinished();
  for (Task& task : tasks) {
    step_.completions.push_back(task(*this));
    flush();
  }
  return true;
}

void Engine::copyBlocks() {
  if (transfers_.idle()) return;
  constexpr Clock::duration kMost = std::chrono::milliseconds(5);
  constexpr Clock::duration kLeast = std::chrono::microseconds(250);
  Clock::duration time = kMost;
  if (options_.kvSliceUs > 0) time = std::chrono::microseconds(options_.kvSliceUs);
  else if (!running_.empty()) time = std::clamp(lastStep_ / 8, kLeast, kMost);
  step_.copiedBlocks += transfers_.slice(time, promisedCells(), running_.empty() && waiting_.empty(), step_.completions);
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
  transfers_.fail(error, step_.completions);
  step_.fatal = message;
  flush();
}

// Runs the tasks that are left, so that every promise settles, and takes no more.
void Engine::close() {
  std::deque<Task> tasks;
  std::vector<std::unique_ptr<KvTransfer>> transferred;
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    tasks.swap(tasks_);
    transferred.swap(transferred_);
  }
  for (auto& transfer : transferred) transfers_.add(std::move(transfer));
  transfers_.fail({"not_ready", "", "The engine has stopped."}, step_.completions);
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
  transfers_.revokeAdapter(name);
  cache_.clear(cacheScope(name, ""));
  if (contextAdapter_ == found->second.get()) {
    llama_set_adapters_lora(context_.get(), nullptr, 0, nullptr);
    contextAdapter_ = nullptr;
  }
  if (stepAdapter_ == found->second) stepAdapter_.reset();
  adapters_.erase(found);
}

}  // namespace stator
