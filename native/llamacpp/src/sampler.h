#pragma once

#include <llama.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace stator {

struct SamplingParams {
  float temperature = 1;
  float topP = 1;
  int32_t topK = 0;  // 0 or less: all
  float minP = 0;
  float frequencyPenalty = 0;
  float presencePenalty = 0;
  float repetitionPenalty = 1;
  uint64_t seed = 0;
  std::vector<std::pair<llama_token, float>> logitBias;
  std::string grammar;               // GBNF with a rule `root`; empty: none
  std::optional<uint32_t> topLogprobs;
};

struct TokenLogprob {
  llama_token token;
  float logprob;
  uint32_t rank;  // 1: the likeliest
};

struct PositionLogprobs {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;
};

// Log-probabilities of the raw distribution, before temperature and filters.
PositionLogprobs rawLogprobs(std::span<const float> logits, llama_token chosen, uint32_t top);

// Uniform in [0, 1), a pure function of its arguments, so that a migrated request continues as it would have.
// SplitMix64's finaliser (Steele, Lea, Flood 2014) over seed, position and lane.
double uniformAt(uint64_t seed, uint64_t position, uint32_t lane);

struct Sampled {
  llama_token token = -1;  // -1: nothing is allowed, the grammar is complete
  std::optional<PositionLogprobs> logprobs;
};

// Chooses the tokens of one sequence. Order of the steps: bias, penalties, forbidden tokens, temperature, min_p, top_k,
// top_p, draw; a grammar rejects the draw and then filters before a second one, which gives the same distribution.
class Sampler {
 public:
  // Throws CodedError (`guided.grammar`) for a grammar that does not parse.
  Sampler(const llama_vocab* vocab, SamplingParams params);

  // Counts a token for penalties; an output token also advances the grammar.
  void accept(llama_token token, bool output);

  // `logits` are changed. `position`: place of the new token in the whole sequence.
  Sampled sample(std::span<float> logits, uint64_t position, std::span<const llama_token> forbidden);

 private:
  struct GrammarFree {
    void operator()(llama_sampler* sampler) const { llama_sampler_free(sampler); }
  };

  void penalise(std::span<float> logits) const;
  llama_token draw(std::span<const float> logits, double uniform) const;
  bool grammarAllows(llama_token token) const;
  void applyGrammar(std::span<float> logits);

  const llama_vocab* vocab_;
  SamplingParams params_;
  std::unique_ptr<llama_sampler, GrammarFree> grammar_;
  std::unordered_map<llama_token, uint32_t> outputCounts_;
  std::unordered_map<llama_token, uint32_t> promptCounts_;
  bool penalises_;
};

}  // namespace stator
