#include "vocab.h"

#include <llama.h>

#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "errors.h"
#include "model.h"
#include "promise_worker.h"

namespace stator {
namespace {

std::vector<uint32_t> tokenize(const Model& model, const std::string& text, bool addSpecial, bool parseSpecial) {
  if (text.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) throw invalid("text", "The text is longer than 2 GiB.");
  std::vector<llama_token> tokens(text.size() / 2 + 16);
  const auto length = static_cast<int32_t>(text.size());
  int32_t count = llama_tokenize(model.vocab(), text.data(), length, tokens.data(), static_cast<int32_t>(tokens.size()), addSpecial, parseSpecial);
  if (count == std::numeric_limits<int32_t>::min()) throw invalid("text", "The text has too many tokens.");
  if (count < 0) {
    tokens.resize(static_cast<size_t>(-count));
    count = llama_tokenize(model.vocab(), text.data(), length, tokens.data(), -count, addSpecial, parseSpecial);
  }
  if (count < 0) throw CodedError("internal", "", "llama_tokenize failed");
  return {tokens.begin(), tokens.begin() + count};
}

void appendPiece(const llama_vocab* vocab, llama_token token, std::string& to) {
  char small[256];
  const int32_t length = llama_token_to_piece(vocab, token, small, sizeof small, 0, true);
  if (length >= 0) {
    to.append(small, static_cast<size_t>(length));
    return;
  }
  std::string large(static_cast<size_t>(-length), '\0');
  const int32_t written = llama_token_to_piece(vocab, token, large.data(), static_cast<int32_t>(large.size()), 0, true);
  if (written > 0) to.append(large, 0, static_cast<size_t>(written));
}

Napi::Value idArray(Napi::Env env, const std::vector<uint32_t>& tokens) {
  auto array = Napi::Uint32Array::New(env, tokens.size());
  if (!tokens.empty()) std::memcpy(array.Data(), tokens.data(), tokens.size() * sizeof(uint32_t));
  return array;
}

Napi::Value optionalToken(Napi::Env env, llama_token token) {
  if (token < 0) return env.Null();
  return Napi::Number::New(env, token);
}

Napi::Object specialTokens(Napi::Env env, const llama_vocab* vocab) {
  Napi::Object tokens = Napi::Object::New(env);
  tokens.Set("bos", optionalToken(env, llama_vocab_bos(vocab)));
  tokens.Set("eos", optionalToken(env, llama_vocab_eos(vocab)));
  tokens.Set("eot", optionalToken(env, llama_vocab_eot(vocab)));
  tokens.Set("sep", optionalToken(env, llama_vocab_sep(vocab)));
  tokens.Set("pad", optionalToken(env, llama_vocab_pad(vocab)));
  tokens.Set("mask", optionalToken(env, llama_vocab_mask(vocab)));
  return tokens;
}

const char* typeName(enum llama_vocab_type type) {
  switch (type) {
    case LLAMA_VOCAB_TYPE_SPM: return "spm";
    case LLAMA_VOCAB_TYPE_BPE: return "bpe";
    case LLAMA_VOCAB_TYPE_WPM: return "wpm";
    case LLAMA_VOCAB_TYPE_UGM: return "ugm";
    case LLAMA_VOCAB_TYPE_RWKV: return "rwkv";
    case LLAMA_VOCAB_TYPE_PLAMO2: return "plamo2";
    default: return "none";
  }
}

}  // namespace

Napi::Value vocabTokenize(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    auto model = modelFrom(info[0]);
    std::string text = info[1].As<Napi::String>();
    const bool addSpecial = info[2].As<Napi::Boolean>();
    const bool parseSpecial = info[3].As<Napi::Boolean>();
    return PromiseWorker<std::vector<uint32_t>>::start(
        env,
        [model = std::move(model), text = std::move(text), addSpecial, parseSpecial] { return tokenize(*model, text, addSpecial, parseSpecial); },
        [](Napi::Env result, std::vector<uint32_t>& tokens) -> Napi::Value { return idArray(result, tokens); });
  });
}

Napi::Value vocabTokenizeNow(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const auto model = modelFrom(info[0]);
    const std::string text = info[1].As<Napi::String>();
    return idArray(env, tokenize(*model, text, info[2].As<Napi::Boolean>(), info[3].As<Napi::Boolean>()));
  });
}

Napi::Value vocabTable(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const auto model = modelFrom(info[0]);
    const llama_vocab* vocab = model->vocab();
    const auto size = static_cast<uint32_t>(model->vocabSize());
    auto offsets = Napi::Uint32Array::New(env, size + 1);
    auto attributes = Napi::Uint32Array::New(env, size);
    auto scores = Napi::Float32Array::New(env, size);
    std::string bytes;
    std::vector<uint32_t> endings;
    for (uint32_t token = 0; token < size; ++token) {
      const auto id = static_cast<llama_token>(token);
      offsets[token] = static_cast<uint32_t>(bytes.size());
      appendPiece(vocab, id, bytes);
      attributes[token] = static_cast<uint32_t>(llama_vocab_get_attr(vocab, id));
      scores[token] = llama_vocab_get_score(vocab, id);
      if (llama_vocab_is_eog(vocab, id)) endings.push_back(token);
    }
    offsets[size] = static_cast<uint32_t>(bytes.size());
    auto data = Napi::Uint8Array::New(env, bytes.size());
    std::memcpy(data.Data(), bytes.data(), bytes.size());
    auto endOfGeneration = Napi::Uint32Array::New(env, endings.size());
    std::memcpy(endOfGeneration.Data(), endings.data(), endings.size() * sizeof(uint32_t));

    const char* chatTemplate = llama_model_chat_template(model->get(), nullptr);
    Napi::Object result = Napi::Object::New(env);
    result.Set("type", typeName(llama_vocab_type(vocab)));
    result.Set("size", size);
    result.Set("data", data);
    result.Set("offsets", offsets);
    result.Set("attributes", attributes);
    result.Set("scores", scores);
    result.Set("endOfGeneration", endOfGeneration);
    result.Set("special", specialTokens(env, vocab));
    result.Set("addBos", llama_vocab_get_add_bos(vocab));
    result.Set("addEos", llama_vocab_get_add_eos(vocab));
    result.Set("chatTemplate", chatTemplate == nullptr ? env.Null() : Napi::Value(Napi::String::New(env, chatTemplate)));
    return result;
  });
}

}  // namespace stator
