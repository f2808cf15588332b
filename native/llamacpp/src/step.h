#pragma once

#include <napi.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "errors.h"
#include "kv_events.h"
#include "sampler.h"

namespace stator {

// In the order of FinishReason in binding.d.ts.
enum class FinishReason : uint32_t { kStop, kLength, kCancelled, kError };

struct Prefilled {
  uint32_t handle;
  uint32_t cachedTokens;
  uint32_t queueUs;
  uint32_t prefillUs;
  std::optional<std::vector<PositionLogprobs>> promptLogprobs;
};

struct Finished {
  uint32_t handle;
  FinishReason reason;
  std::optional<llama_token> stopToken;
  std::optional<ErrorInfo> error;
  uint32_t promptTokens;
  uint32_t outputTokens;
  uint32_t cachedTokens;
};

struct Pass {
  int64_t startUnixUs;
  uint32_t durationUs;
  uint32_t prefillSequences;
  uint32_t prefillTokens;
  uint32_t decodeSequences;
  uint64_t decodeContextTokens;
};

struct Load {
  uint32_t runningSequences = 0;
  uint32_t queuedSequences = 0;
  uint64_t queuedTokens = 0;
  uint64_t pendingPrefillTokens = 0;
  uint32_t activeBlocks = 0;
  uint32_t cachedBlocks = 0;
};

// Settles a promise on the event loop.
using Completion = std::function<void(Napi::Env)>;

// What one turn of the engine did. Columns `handles` and `tokens` have one entry for each token.
struct Step {
  std::vector<uint32_t> handles;
  std::vector<uint32_t> tokens;
  std::vector<std::pair<uint32_t, PositionLogprobs>> logprobs;  // index in the columns
  std::vector<Prefilled> prefilled;
  std::vector<Finished> finished;
  std::vector<KvChange> kv;
  std::vector<Completion> completions;
  std::optional<Pass> pass;
  std::optional<std::string> fatal;
  uint32_t copiedBlocks = 0;  // out of the cache or into it
  Load load;

  bool empty() const {
    return copiedBlocks == 0 && handles.empty() && prefilled.empty() && finished.empty() && kv.empty() && completions.empty() && !pass && !fatal;
  }
};

// The object that binding.d.ts calls Step. Completions are not part of it.
Napi::Object toNapi(Napi::Env env, const Step& step);
Napi::Array toNapi(Napi::Env env, const std::vector<KvChange>& changes);

}  // namespace stator
