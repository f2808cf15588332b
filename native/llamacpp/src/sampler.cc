#include "sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "errors.h"

namespace stator {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
// Dividing by less overflows; every such temperature is greedy.
constexpr float kGreedyBelow = 1e-5f;

struct Candidate {
  llama_token token;
  float logit;
};

bool likelier(const Candidate& a, const Candidate& b) { return a.logit != b.logit ? a.logit > b.logit : a.token < b.token; }

llama_token argmax(std::span<const float> logits) {
  const auto best = std::max_element(logits.begin(), logits.end());
  return *best == kNever ? -1 : static_cast<llama_token>(best - logits.begin());
}

double logSumExp(std::span<const float> logits) {
  const float peak = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - peak);
  return peak + std::log(sum);
}

// Cuts `candidates`, whose first `sorted` are in order, to the fewest that together reach `share` of the mass.
void keepTopP(std::vector<Candidate>& candidates, float share, float peak) {
  double total = 0;
  for (const Candidate& candidate : candidates) total += std::exp(static_cast<double>(candidate.logit) - peak);
  double mass = 0;
  size_t sorted = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (i == sorted) {
      // Sorting piece by piece: the nucleus is usually a tiny part of the vocabulary.
      const size_t next = std::min(candidates.size(), std::max<size_t>(64, sorted * 8));
      std::partial_sort(candidates.begin() + static_cast<ptrdiff_t>(sorted), candidates.begin() + static_cast<ptrdiff_t>(next), candidates.end(), likelier);
      sorted = next;
    }
    mass += std::exp(static_cast<double>(candidates[i].logit) - peak);
    if (mass >= static_cast<double>(share) * total) {
      candidates.resize(i + 1);
      return;
    }
  }
}

llama_token pick(const std::vector<Candidate>& candidates, float peak, double uniform) {
  double total = 0;
  for (const Candidate& candidate : candidates) total += std::exp(static_cast<double>(candidate.logit) - peak);
  double left = uniform * total;
  for (const Candidate& candidate : candidates) {
    left -= std::exp(static_cast<double>(candidate.logit) - peak);
    if (left < 0) return candidate.token;
  }
  return candidates.back().token;
}

uint64_t mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
  return value ^ (value >> 31);
}

}  // namespace

double uniformAt(uint64_t seed, uint64_t position, uint32_t lane) {
  constexpr uint64_t kGamma = 0x9e3779b97f4a7c15ULL;
  const uint64_t bits = mix(mix(seed + kGamma) + (position * 2 + lane + 1) * kGamma);
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

PositionLogprobs rawLogprobs(std::span<const float> logits, llama_token chosen, uint32_t top) {
  const double norm = logSumExp(logits);
  const auto logprob = [&](llama_token token) { return static_cast<float>(logits[static_cast<size_t>(token)] - norm); };
  const float own = logits[static_cast<size_t>(chosen)];
  uint32_t rank = 1;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > own || (logits[i] == own && i < static_cast<size_t>(chosen))) ++rank;
  }
  PositionLogprobs result{{chosen, logprob(chosen), rank}, {}};
  const size_t count = std::min<size_t>(top, logits.size());
  if (count == 0) return result;
  std::vector<llama_token> order(logits.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<llama_token>(i);
  std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(count), order.end(), [&](llama_token a, llama_token b) {
    return likelier({a, logits[static_cast<size_t>(a)]}, {b, logits[static_cast<size_t>(b)]});
  });
  for (uint32_t i = 0; i < count; ++i) result.top.push_back({order[i], logprob(order[i]), i + 1});
  return result;
}

Sampler::Sampler(const llama_vocab* vocab, SamplingParams params)
    : vocab_(vocab),
      params_(std::move(params)),
      penalises_(params_.frequencyPenalty != 0 || params_.presencePenalty != 0 || params_.repetitionPenalty != 1) {
  if (params_.grammar.empty()) return;
  // llama.cpp would read up to the zero, and take an empty grammar for none.
  if (params_.grammar.find('\0') != std::string::npos) throw invalid("guided.grammar", "The grammar contains a zero character.");
  grammar_.reset(llama_sampler_init_grammar(vocab_, params_.grammar.c_str(), "root"));
  if (!grammar_) throw invalid("guided.grammar", "The grammar cannot be parsed, or has no rule named root.");
}

void Sampler::accept(llama_token token, bool output) {
  if (penalises_) ++(output ? outputCounts_ : promptCounts_)[token];
  if (output && grammar_ && !llama_vocab_is_eog(vocab_, token)) llama_sampler_accept(grammar_.get(), token);
}

Sampled Sampler::sample(std::span<float> logits, uint64_t position, std::span<const llama_token> forbidden) {
  // The raw distribution is needed after the choice, which changes the logits.
  std::vector<float> raw;
  if (params_.topLogprobs) raw.assign(logits.begin(), logits.end());
  for (const auto& [token, bias] : params_.logitBias) logits[static_cast<size_t>(token)] += bias;
  if (penalises_) penalise(logits);
  for (const llama_token token : forbidden) logits[static_cast<size_t>(token)] = kNever;

  Sampled result;
  result.token = draw(logits, uniformAt(params_.seed, position, 0));
  if (grammar_ && result.token >= 0 && !grammarAllows(result.token)) {
    applyGrammar(logits);
    result.token = draw(logits, uniformAt(params_.seed, position, 1));
  }
  if (params_.topLogprobs && result.token >= 0) result.logprobs = rawLogprobs(raw, result.token, *params_.topLogprobs);
  return result;
}

// Repetition (Keskar et al. 2019) over prompt and output; frequency and presence as OpenAI defines them, over output.
void Sampler::penalise(std::span<float> logits) const {
  const auto repeat = [&](llama_token token) {
    float& logit = logits[static_cast<size_t>(token)];
    logit = logit > 0 ? logit / params_.repetitionPenalty : logit * params_.repetitionPenalty;
  };
  if (params_.repetitionPenalty != 1) {
    for (const auto& [token, count] : promptCounts_) repeat(token);
    for (const auto& [token, count] : outputCounts_) {
      if (!promptCounts_.contains(token)) repeat(token);
    }
  }
  for (const auto& [token, count] : outputCounts_) {
    logits[static_cast<size_t>(token)] -= params_.presencePenalty + params_.frequencyPenalty * static_cast<float>(count);
  }
}

llama_token Sampler::draw(std::span<const float> logits, double uniform) const {
  const llama_token best = argmax(logits);
  if (best < 0 || params_.temperature < kGreedyBelow) return best;
  const float scale = 1 / params_.temperature;
  const float peak = logits[static_cast<size_t>(best)] * scale;
  const float floor = params_.minP > 0 ? peak + std::log(params_.minP) : kNever;
  std::vector<Candidate> candidates;
  candidates.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    const float logit = logits[i] * scale;
    if (logit >= floor && logit != kNever) candidates.push_back({static_cast<llama_token>(i), logit});
  }
  if (candidates.empty()) return best;
  const size_t k = params_.topK > 0 ? std::min(candidates.size(), static_cast<size_t>(params_.topK)) : candidates.size();
  if (k < candidates.size()) {
    std::nth_element(candidates.begin(), candidates.begin() + static_cast<ptrdiff_t>(k - 1), candidates.end(), likelier);
    candidates.resize(k);
    // nth_element leaves an order that the standard does not fix; the draw must not depend on it.
    std::sort(candidates.begin(), candidates.end(), likelier);
  }
  if (params_.topP < 1) keepTopP(candidates, params_.topP, peak);
  return pick(candidates, peak, uniform);
}

bool Sampler::grammarAllows(llama_token token) const {
  llama_token_data data{token, 1.0f, 0.0f};
  llama_token_data_array array{&data, 1, -1, false};
  llama_sampler_apply(grammar_.get(), &array);
  return data.logit != kNever;
}

void Sampler::applyGrammar(std::span<float> logits) {
  std::vector<llama_token_data> data;
  data.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] != kNever) data.push_back({static_cast<llama_token>(i), logits[i], 0.0f});
  }
  llama_token_data_array array{data.data(), data.size(), -1, false};
  llama_sampler_apply(grammar_.get(), &array);
  for (const llama_token_data& entry : data) logits[static_cast<size_t>(entry.id)] = entry.logit;
}

}  // namespace stator
