#pragma once

#include <llama.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "kv_cache.h"
#include "kv_transfers.h"
#include "model.h"
#include "sampler.h"
#include "step.h"

namespace stator {

struct EngineOptions {
  uint32_t contextLength = 0;    // most tokens of one sequence
  uint32_t kvCells = 0;          // tokens of all sequences and cached blocks together
  uint32_t batchTokens = 0;      // most tokens of one step
  uint32_t maxSequences = 0;
  uint32_t blockSize = 0;
  int32_t threads = 1;
  enum llama_flash_attn_type flashAttention = LLAMA_FLASH_ATTN_TYPE_AUTO;
  enum ggml_type keyType = GGML_TYPE_F16;
  enum ggml_type valueType = GGML_TYPE_F16;
  bool offloadKv = true;
  std::vector<uint8_t> modelDigest;  // of the model's contents; empty: blocks neither leave nor enter
  uint32_t kvSliceUs = 0;            // most time between two steps that copies take, but at least one block; 0: an eighth of the last step
};

struct Request {
  uint32_t handle = 0;
  std::vector<llama_token> tokens;
  uint32_t resumedOutputTokens = 0;
  uint32_t maxTokens = 0;  // new output tokens, the context's rest already considered
  uint32_t minTokens = 0;  // counts resumed tokens
  bool ignoreEos = false;
  bool bypassPrefixCache = false;
  int32_t priority = 0;
  std::vector<llama_token> stopTokens;
  std::optional<uint32_t> promptLogprobs;
  std::string adapter;
  std::string cacheSalt;
  SamplingParams sampling;
};

// What, beside tokens, decides the KV of a block.
std::string cacheScope(const std::string& adapter, const std::string& salt);

struct Adapter {
  struct Free {
    void operator()(llama_adapter_lora* adapter) const { llama_adapter_lora_free(adapter); }
  };
  std::string name;
  float scale;
  std::unique_ptr<llama_adapter_lora, Free> lora;
};

// One context of a model and the thread that owns it: continuous batching over its sequences.
// Public functions may be called from any thread; everything that computes happens on the engine's own.
class Engine {
 public:
  using Clock = std::chrono::steady_clock;
  // Called on the engine's thread with what a step did; `Task`s report through a step too, so that order is kept.
  using Sink = std::function<void(Step&&)>;
  using Task = std::function<Completion(Engine&)>;

  // Creates the context; throws CodedError if it does not fit into memory or the options do not fit the model.
  Engine(std::shared_ptr<Model> model, EngineOptions options);
  ~Engine();

  void start(Sink sink);
  // Throws CodedError for a grammar that does not parse. False if the engine has stopped.
  bool submit(Request request);
  void cancel(uint32_t handle);
  // Runs on the engine's thread between two steps; its completion is delivered after everything that came before it.
  // False if the engine has stopped.
  bool enqueue(Task task);
  // Copies blocks between two steps, a slice at a time. False if the engine has stopped.
  bool transfer(std::unique_ptr<KvTransfer> transfer);
  void cancelTransfer(uint32_t id);
  // Ends the thread within one graph node. Sequences get no further step. Idempotent; blocks until the thread is gone.
  void stop();

  // For tasks only.
  KvCache& cache() { return cache_; }
  KvTransfers& transfers() { return transfers_; }
  bool loadAdapter(const std::string& name, const std::string& path, float scale);
  void unloadAdapter(const std::string& name);

  const EngineOptions& options() const { return options_; }
  // Null where blocks neither leave nor enter.
  const KvBlockFormat* blockFormat() const { return transfers_.format() ? &*transfers_.format() : nullptr; }

 private:
  struct Sequence {
    Request request;
    uint64_t arrival = 0;
    SequenceKv kv;
    std::vector<llama_token> tokens;  // prompt and output
    uint32_t computed = 0;            // tokens whose KV is in the cache
    uint32_t output = 0;              // new output tokens
    uint32_t cachedTokens = 0;
    bool started = false;             // whether it was admitted before (a preempted sequence was)
    bool prefilled = false;
    std::unique_ptr<Sampler> sampler;
    std::shared_ptr<Adapter> adapter;
    std::string scope;
    BlockHasher hasher;
    Clock::time_point submitted;
    Clock::time_point computing;
    std::vector<PositionLogprobs> promptLogprobs;
    uint32_t chunk = 0;       // tokens of the running step
    bool decoding = false;    // whether that is its next output token
    int32_t firstRow = 0;     // place of its first token in the running batch

    bool done = false;

    Sequence(const llama_vocab* vocab, Request from);
    uint32_t pending() const { return static_cast<uint32_t>(tokens.size()) - computed; }
  };
  using Sequences = std::vector<std::unique_ptr<Sequence>>;
  struct ContextFree {
    void operator()(llama_context* context) const { llama_free(context); }
  };

  using Context = std::unique_ptr<llama_context, ContextFree>;

  Context createContext();
  KvCacheOptions cacheOptions() const;
  std::optional<KvBlockFormat> learnFormat();

  void wake();
  void run();
  bool takeCommands();
  void failAll(const std::string& message);
  void close();
  void enter(std::unique_ptr<Sequence> sequence);
  void cancelOne(uint32_t handle);
  void enqueueWaiting(std::unique_ptr<Sequence> sequence);
  void copyBlocks();
  uint64_t promisedCells() const;
  void admit();
  bool fits(const Sequence& sequence) const;
  void begin(std::unique_ptr<Sequence> sequence);
  void compute();
  void chooseAdapter();
  uint32_t planBatch();
  uint32_t planSequences();
  uint32_t chunkFor(const Sequence& sequence, uint32_t budget) const;
  bool preemptLast();
  int decodeBatch();
  void fillBatch();
  void afterDecode();
  void collectPromptLogprobs(Sequence& sequence);
  void reportPrefilled(Sequence& sequence);
  void sampleNext(Sequence& sequence);
  std::vector<llama_token> forbiddenTokens(const Sequence& sequence) const;
  bool endsSequence(const Sequence& sequence, llama_token token) const;
  void failBatch(int status);
  void finish(Sequence& sequence, FinishReason reason, std::optional<llama_token> stopToken = {}, std::optional<ErrorInfo> error = {});
  void removeFinished();
  void measure(Clock::time_point start, int64_t startUnixUs);
  void flush();
  std::span<float> logitsOf(int32_t row);

  std::shared_ptr<Model> model_;
  EngineOptions options_;
  std::atomic<bool> stopping_{false};
  Context context_;
  KvCache cache_;
  llama_batch batch_;
  KvTransfers transfers_;
  Sink sink_;
  std::thread thread_;
  std::mutex stopMutex_;

  std::mutex mutex_;
  std::condition_variable wake_;
  Sequences submissions_;
  bool closed_ = false;
  uint64_t arrivals_ = 0;
  std::vector<uint32_t> cancellations_;
  std::deque<Task> tasks_;
  std::vector<std::unique_ptr<KvTransfer>> transferred_;
  std::vector<uint32_t> transferCancellations_;

  // The engine thread's own.
  Sequences running_;
  Sequences waiting_;  // highest priority first, then by arrival
  std::vector<llama_seq_id> freeSlots_;
  std::map<std::string, std::shared_ptr<Adapter>> adapters_;
  std::shared_ptr<Adapter> stepAdapter_;
  const Adapter* contextAdapter_ = nullptr;
  uint32_t failures_ = 0;
  Clock::duration lastStep_{};
  std::vector<llama_token> endOfGeneration_;
  Step step_;
};

}  // namespace stator
