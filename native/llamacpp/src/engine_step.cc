// One step of the engine: admission, plan, decode, sampling.
#include <algorithm>

#include "engine.h"

namespace stator {
namespace {

// Rows of logits that a prompt with log-probabilities computes in one step; each row is as long as the vocabulary.
constexpr uint32_t kPromptLogprobRows = 32;
// Failed steps in a row after which the engine gives up.
constexpr uint32_t kMaxFailures = 3;

uint32_t microseconds(Engine::Clock::duration duration) {
  const auto count = std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
  return static_cast<uint32_t>(std::clamp<int64_t>(count, 0, UINT32_MAX));
}

}  // namespace

void Engine::admit() {
  while (!waiting_.empty() && !freeSlots_.empty()) {
    if (!running_.empty() && !fits(*waiting_.front())) return;
    auto sequence = std::move(waiting_.front());
    waiting_.erase(waiting_.begin());
    begin(std::move(sequence));
  }
}

// Whether the cells for all its tokens can be had without preempting. Its own cached prefix counts as idle cells too.
// What is held gives way when it must.
bool Engine::fits(const Sequence& sequence) const {
  const uint64_t available = uint64_t{cache_.freeCells()} + cache_.idleCells() + cache_.heldCells();
  return promisedCells() + sequence.tokens.size() + options_.blockSize <= available;
}

// What running sequences still have to compute of their tokens.
uint64_t Engine::promisedCells() const {
  uint64_t promised = 0;
  for (const auto& sequence : running_) promised += sequence->pending();
  return promised;
}

void Engine::begin(std::unique_ptr<Sequence> sequence) {
  Sequence& it = *sequence;
  it.kv.slot = freeSlots_.back();
  freeSlots_.pop_back();
  const bool fresh = it.request.bypassPrefixCache || (it.request.promptLogprobs && !it.prefilled);
  it.computed = cache_.attach(it.kv, fresh ? std::span<const llama_token>() : std::span<const llama_token>(it.tokens), it.scope, it.hasher);
  if (!it.started) {
    it.started = true;
    it.cachedTokens = std::min<uint32_t>(it.computed, static_cast<uint32_t>(it.request.tokens.size()));
    it.computing = Clock::now();
  }
  running_.push_back(std::move(sequence));
}

void Engine::compute() {
  const auto start = Clock::now();
  const int64_t startUnixUs = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  chooseAdapter();
  int status = 1;
  // 1: no cells found although the accounting says so; make room and try again.
  while (status == 1) {
    if (planBatch() == 0) return failBatch(status);
    status = decodeBatch();
    if (status == 1 && cache_.clear("") == 0 && !transfers_.relieve() && !preemptLast()) return failBatch(status);
  }
  if (stopping_.load()) return;
  if (status != 0) return failBatch(status);
  failures_ = 0;
  afterDecode();
  measure(start, startUnixUs);
  removeFinished();
}

// Adapters belong to the context, so sequences of one adapter compute together and the groups take turns.
void Engine::chooseAdapter() {
  std::vector<std::shared_ptr<Adapter>> groups;
  for (const auto& sequence : running_) {
    if (std::find(groups.begin(), groups.end(), sequence->adapter) == groups.end()) groups.push_back(sequence->adapter);
  }
  const auto last = std::find(groups.begin(), groups.end(), stepAdapter_);
  const auto next = last == groups.end() || last + 1 == groups.end() ? groups.begin() : last + 1;
  stepAdapter_ = *next;
}

// Gives every sequence its tokens of this step, preempting until their cells are free. Returns the number of tokens.
uint32_t Engine::planBatch() {
  while (true) {
    const uint32_t total = planSequences();
    if (cache_.reserve(total)) return total;
    if (!transfers_.relieve() && !preemptLast()) return 0;
  }
}

uint32_t Engine::planSequences() {
  uint32_t budget = options_.batchTokens;
  const auto plan = [&](bool decoding) {
    for (auto& sequence : running_) {
      const bool decodes = sequence->prefilled && sequence->pending() == 1;
      if (decoding) sequence->chunk = 0;
      sequence->decoding = decodes;
      if (sequence->adapter != stepAdapter_ || decodes != decoding) continue;
      sequence->chunk = chunkFor(*sequence, budget);
      budget -= sequence->chunk;
    }
  };
  plan(true);
  plan(false);
  return options_.batchTokens - budget;
}

uint32_t Engine::chunkFor(const Sequence& sequence, uint32_t budget) const {
  const uint32_t chunk = std::min(sequence.pending(), budget);
  return sequence.request.promptLogprobs && !sequence.prefilled ? std::min(chunk, kPromptLogprobRows) : chunk;
}

// Sends the youngest sequence of the lowest priority back to the queue; it computes again what the cache forgets.
bool Engine::preemptLast() {
  if (running_.size() < 2) return false;
  const auto victim = std::min_element(running_.begin(), running_.end(), [](const auto& a, const auto& b) {
    return a->request.priority != b->request.priority ? a->request.priority < b->request.priority : a->arrival > b->arrival;
  });
  auto sequence = std::move(*victim);
  running_.erase(victim);
  cache_.detach(sequence->kv);
  freeSlots_.push_back(sequence->kv.slot);
  sequence->kv.slot = -1;
  sequence->computed = 0;
  sequence->chunk = 0;
  enqueueWaiting(std::move(sequence));
  return true;
}

int Engine::decodeBatch() {
  if (contextAdapter_ != stepAdapter_.get()) {
    llama_adapter_lora* lora = stepAdapter_ ? stepAdapter_->lora.get() : nullptr;
    float scale = stepAdapter_ ? stepAdapter_->scale : 0;
    if (llama_set_adapters_lora(context_.get(), &lora, lora == nullptr ? 0 : 1, &scale) != 0) return -1;
    contextAdapter_ = stepAdapter_.get();
  }
  fillBatch();
  return llama_decode(context_.get(), batch_);
}

void Engine::fillBatch() {
  batch_.n_tokens = 0;
  for (auto& sequence : running_) {
    sequence->firstRow = batch_.n_tokens;
    const bool everyRow = sequence->request.promptLogprobs && !sequence->prefilled;
    for (uint32_t i = 0; i < sequence->chunk; ++i) {
      const int32_t row = batch_.n_tokens++;
      const uint32_t position = sequence->computed + i;
      batch_.token[row] = sequence->tokens[position];
      batch_.pos[row] = static_cast<llama_pos>(position);
      batch_.n_seq_id[row] = 1;
      batch_.seq_id[row][0] = sequence->kv.slot;
      batch_.logits[row] = everyRow || position + 1 == sequence->tokens.size();
    }
  }
}

void Engine::afterDecode() {
  for (auto& sequence : running_) {
    if (sequence->chunk == 0) continue;
    try {
      if (sequence->request.promptLogprobs && !sequence->prefilled) collectPromptLogprobs(*sequence);
      sequence->computed += sequence->chunk;
      cache_.extend(sequence->kv, std::span(sequence->tokens).first(sequence->computed), sequence->chunk, sequence->scope, sequence->hasher);
      if (sequence->pending() == 0) sampleNext(*sequence);
    } catch (const std::exception& error) {
      finish(*sequence, FinishReason::kError, {}, ErrorInfo{"engine_failed", "", error.what()});
    }
  }
}

void Engine::collectPromptLogprobs(Sequence& sequence) {
  for (uint32_t i = 0; i < sequence.chunk; ++i) {
    const uint32_t next = sequence.computed + i + 1;
    if (next >= sequence.request.tokens.size() || next != sequence.promptLogprobs.size() + 1) continue;
    const auto logits = logitsOf(sequence.firstRow + static_cast<int32_t>(i));
    sequence.promptLogprobs.push_back(rawLogprobs(logits, sequence.tokens[next], *sequence.request.promptLogprobs));
  }
}

void Engine::sampleNext(Sequence& sequence) {
  const int32_t row = sequence.firstRow + static_cast<int32_t>(sequence.chunk) - 1;
  if (!sequence.prefilled) reportPrefilled(sequence);
  if (sequence.output >= sequence.request.maxTokens) return finish(sequence, FinishReason::kLength);
  Sampled sampled = sequence.sampler->sample(logitsOf(row), sequence.tokens.size(), forbiddenTokens(sequence));
  if (sampled.token < 0) return finish(sequence, FinishReason::kStop);
  if (endsSequence(sequence, sampled.token)) return finish(sequence, FinishReason::kStop, sampled.token);

  sequence.sampler->accept(sampled.token, true);
  sequence.tokens.push_back(sampled.token);
  ++sequence.output;
  if (sampled.logprobs) step_.logprobs.emplace_back(static_cast<uint32_t>(step_.handles.size()), std::move(*sampled.logprobs));
  step_.handles.push_back(sequence.request.handle);
  step_.tokens.push_back(static_cast<uint32_t>(sampled.token));
  const bool full = sequence.tokens.size() >= options_.contextLength;
  if (full || sequence.output >= sequence.request.maxTokens) finish(sequence, FinishReason::kLength);
}

void Engine::reportPrefilled(Sequence& sequence) {
  sequence.prefilled = true;
  Prefilled report{sequence.request.handle, sequence.cachedTokens, microseconds(sequence.computing - sequence.submitted), microseconds(Clock::now() - sequence.computing), std::nullopt};
  if (sequence.request.promptLogprobs) report.promptLogprobs = std::move(sequence.promptLogprobs);
  step_.prefilled.push_back(std::move(report));
}

std::vector<llama_token> Engine::forbiddenTokens(const Sequence& sequence) const {
  if (sequence.request.resumedOutputTokens + sequence.output >= sequence.request.minTokens) return {};
  std::vector<llama_token> forbidden = sequence.request.stopTokens;
  if (!sequence.request.ignoreEos) forbidden.insert(forbidden.end(), endOfGeneration_.begin(), endOfGeneration_.end());
  return forbidden;
}

bool Engine::endsSequence(const Sequence& sequence, llama_token token) const {
  const auto& stops = sequence.request.stopTokens;
  if (std::find(stops.begin(), stops.end(), token) != stops.end()) return true;
  return !sequence.request.ignoreEos && llama_vocab_is_eog(model_->vocab(), token);
}

// Ends the sequences of a batch that could not be computed; the others go on.
void Engine::failBatch(int status) {
  const ErrorInfo error{"engine_failed", "", "llama.cpp could not compute a batch (status " + std::to_string(status) + ")."};
  for (auto& sequence : running_) {
    if (sequence->chunk > 0) finish(*sequence, FinishReason::kError, {}, error);
  }
  removeFinished();
  if (++failures_ >= kMaxFailures) throw std::runtime_error(error.message);
}

void Engine::measure(Clock::time_point start, int64_t startUnixUs) {
  lastStep_ = Clock::now() - start;
  Pass pass{startUnixUs, microseconds(lastStep_), 0, 0, 0, 0};
  for (const auto& sequence : running_) {
    if (sequence->chunk == 0) continue;
    if (sequence->decoding) {
      ++pass.decodeSequences;
      pass.decodeContextTokens += sequence->computed;
    } else {
      ++pass.prefillSequences;
      pass.prefillTokens += sequence->chunk;
    }
  }
  step_.pass = pass;
}

std::span<float> Engine::logitsOf(int32_t row) {
  float* logits = llama_get_logits_ith(context_.get(), row);
  if (logits == nullptr) throw std::runtime_error("llama.cpp returned no logits");
  return {logits, static_cast<size_t>(model_->vocabSize())};
}

}  // namespace stator
