#include "memory_api.h"

#include <cmath>

#include "bulk.h"
#include "copy.h"
#include "memory.h"
#include "running.h"

namespace stator::hostmem {
namespace {

constexpr napi_type_tag kLenderTag = {0x71c2d0e98fb3465a, 0xb46a1f7c29d5e083};
constexpr double kMaxBytes = static_cast<double>(1ull << 46);
// Some ten microseconds: less than it takes to wake another thread and to be told of its end.
constexpr uint64_t kAtOnceBytes = 256u << 10;
// A hundred microseconds: another thread, on busy cores, would begin later than that.
constexpr uint64_t kLentAtOnceBytes = 1u << 20;

uint64_t wholeNumber(Napi::Env env, const Napi::Value& value, const char* name) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0 && number <= kMaxBytes && number == std::floor(number)))
    throw Napi::RangeError::New(env, std::string(name) + " must be a whole number of bytes.");
  return static_cast<uint64_t>(number);
}

struct Memory {
  uint8_t* start;
  uint64_t bytes;
};

std::shared_ptr<Lender>& lenderOf(const Napi::Value& value) {
  if (!value.IsExternal() || !value.As<Napi::External<std::shared_ptr<Lender>>>().CheckTypeTag(&kLenderTag))
    throw Napi::TypeError::New(value.Env(), "lender must be one of this addon.");
  return *value.As<Napi::External<std::shared_ptr<Lender>>>().Data();
}

Memory memoryOf(const Napi::Value& value) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    throw Napi::TypeError::New(value.Env(), "buffer must be a Uint8Array.");
  auto array = value.As<Napi::Uint8Array>();
  return {array.Data(), array.ByteLength()};
}

// What JavaScript sees. Its finalizer may run long after release() or never; both may let go.
Napi::Buffer<uint8_t> show(Napi::Env env, const MappingRef& mapping) {
  own(mapping);
  const auto finalize = [](Napi::Env, uint8_t*, std::weak_ptr<Mapping>* known) {
    const std::unique_ptr<std::weak_ptr<Mapping>> owner(known);
    if (const MappingRef left = known->lock()) forget(left.get());
  };
  return Napi::Buffer<uint8_t>::New(env, mapping->data, mapping->bytes, finalize, new std::weak_ptr<Mapping>(mapping));
}

// Buffers of an array, with what keeps them mapped.
std::vector<Memory> memoriesOf(const Napi::Value& value, std::vector<MappingRef>& holds) {
  if (!value.IsArray()) throw Napi::TypeError::New(value.Env(), "buffers must be an array.");
  const auto array = value.As<Napi::Array>();
  std::vector<Memory> memories;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    memories.push_back(memoryOf(array.Get(i)));
    if (MappingRef held = holdOf(memories.back().start)) holds.push_back(std::move(held));
  }
  return memories;
}

Napi::Float64Array wordsOf(const Napi::Value& value, size_t perRange) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float64_array)
    throw Napi::TypeError::New(value.Env(), "words must be a Float64Array.");
  const auto words = value.As<Napi::Float64Array>();
  if (words.ElementLength() % perRange != 0)
    throw Napi::RangeError::New(value.Env(), "Each range has " + std::to_string(perRange) + " words.");
  return words;
}

// Where a range begins in the buffer that a word names; the next word is the offset.
uint8_t* placeOf(Napi::Env env, const std::vector<Memory>& memories, const double* word, double bytes, size_t range) {
  const double index = word[0];
  const double offset = word[1];
  if (!(index >= 0 && index < static_cast<double>(memories.size()) && offset >= 0 && bytes >= 0) ||
      offset + bytes > static_cast<double>(memories[static_cast<size_t>(index)].bytes))
    throw Napi::RangeError::New(env, "Range " + std::to_string(range) + " lies outside of its buffer.");
  return memories[static_cast<size_t>(index)].start + static_cast<uint64_t>(offset);
}

class OpenJob : public Job {
 public:
  explicit OpenJob(OpenRequest request) : request_(std::move(request)) { opened.problem = "canceled"; }
  void run(size_t) override { opened = openShared(request_, cancelFlag(), progressCounter()); }
  Opened opened;

 private:
  const OpenRequest request_;
};

}  // namespace

// Memory of its own on a 2 MiB boundary, of huge pages where the system has them; faster to copy than the heap's.
Napi::Value allocate(const Napi::CallbackInfo& info) {
  const uint64_t bytes = wholeNumber(info.Env(), info[0], "bytes");
  if (bytes == 0) throw Napi::RangeError::New(info.Env(), "bytes must be positive.");
  const MappingRef mapping = mapAnonymous(bytes);
  if (mapping == nullptr) throw Napi::Error::New(info.Env(), "There is no memory for that many bytes.");
  return show(info.Env(), mapping);
}

// (path, bytes, create) → running; resolves with { problem, buffer, created, pageBytes }.
Napi::Value openSharedFile(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsString()) throw Napi::TypeError::New(env, "path must be a string.");
  OpenRequest request{info[0].As<Napi::String>().Utf8Value(), wholeNumber(env, info[1], "bytes"), info[2].ToBoolean().Value()};
  if (request.create && request.bytes == 0) throw Napi::RangeError::New(env, "bytes must be positive.");
  const auto job = std::make_shared<OpenJob>(std::move(request));
  const auto answer = [job](Napi::Env answerEnv) -> Napi::Value {
    Napi::Object result = Napi::Object::New(answerEnv);
    result.Set("problem", job->opened.problem);
    result.Set("created", job->opened.created);
    result.Set("pageBytes", static_cast<double>(job->opened.pageBytes));
    result.Set("buffer", job->opened.mapping == nullptr ? answerEnv.Null() : show(answerEnv, job->opened.mapping).As<Napi::Value>());
    job->opened.mapping.reset();
    return result;
  };
  return start(env, job, 1, 1, Napi::Object::New(env), answer);
}

// Takes the memory away from the buffer at once. Resolves when it is unmapped, which running operations delay; false for
// a buffer that is not of this addon, or was released before.
Napi::Value release(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  MappingRef mapping = holdOf(memoryOf(info[0]).start);
  const Settler settler(env, Napi::Object::New(env));
  if (mapping == nullptr) {
    settler.settle([](Napi::Env answerEnv) { return Napi::Boolean::New(answerEnv, false); });
    return settler.promise();
  }
  info[0].As<Napi::Uint8Array>().ArrayBuffer().Detach();
  mapping->unmapped = [settler] {
    settler.settle([](Napi::Env answerEnv) { return Napi::Boolean::New(answerEnv, true); });
  };
  forget(mapping.get());
  return settler.promise();
}

// Keeps the memory mapped until the function that it returns is called, for operations of others.
Napi::Value hold(const Napi::CallbackInfo& info) {
  const auto held = std::make_shared<MappingRef>(holdOf(memoryOf(info[0]).start));
  if (*held == nullptr) throw Napi::TypeError::New(info.Env(), "buffer is not mapped memory.");
  return Napi::Function::New(info.Env(), [held](const Napi::CallbackInfo&) { held->reset(); });
}

// (buffer, threads) → running; resolves with an errno or 0.
Napi::Value populate(const Napi::CallbackInfo& info) {
  const Memory memory = memoryOf(info[0]);
  const auto job = std::make_shared<PopulateJob>(memory.start, memory.bytes);
  if (MappingRef held = holdOf(memory.start)) job->holds.push_back(std::move(held));
  Napi::Object keep = Napi::Object::New(info.Env());
  keep.Set("buffer", info[0]);
  const auto answer = [job](Napi::Env env) { return Napi::Number::New(env, job->problem()); };
  return start(info.Env(), job, job->units(), info[1].ToNumber().Uint32Value(), keep, answer);
}

// (path of a control file) → lender, or null where it is gone.
Napi::Value openLender(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsString()) throw Napi::TypeError::New(env, "path must be a string.");
  auto lender = Lender::open(info[0].As<Napi::String>().Utf8Value());
  if (lender == nullptr) return env.Null();
  auto external = Napi::External<std::shared_ptr<Lender>>::New(env, new std::shared_ptr<Lender>(std::move(lender)),
                                                               [](Napi::Env, std::shared_ptr<Lender>* held) { delete held; });
  external.TypeTag(&kLenderTag);
  return external;
}

// Copies that run go on.
Napi::Value closeLender(const Napi::CallbackInfo& info) {
  lenderOf(info[0]).reset();
  return info.Env().Undefined();
}

// (lender, write, timeoutMs, buffers, words, threads) → running, which resolves with a problem or ''. Six words a piece: slot, the
// lender's id for it, index of the buffer and offset here, offset there, bytes. What is small is copied at once: then
// the problem itself.
Napi::Value copyLent(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::shared_ptr<Lender> lender = lenderOf(info[0]);
  if (lender == nullptr || !info[2].IsNumber()) throw Napi::TypeError::New(env, "copy takes an open lender, a direction and milliseconds.");
  std::vector<MappingRef> holds;
  const std::vector<Memory> memories = memoriesOf(info[3], holds);
  auto words = wordsOf(info[4], 6);
  const double* word = words.Data();
  std::vector<Piece> pieces(words.ElementLength() / 6);
  for (size_t i = 0; i < pieces.size(); ++i, word += 6) {
    const auto* local = placeOf(env, memories, word + 2, word[5], i);
    pieces[i] = {static_cast<uint64_t>(word[0]), static_cast<uint64_t>(word[1]), reinterpret_cast<uint64_t>(local),
                 static_cast<uint64_t>(word[4]), static_cast<uint64_t>(word[5])};
  }
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(info[2].As<Napi::Number>().Int64Value());
  const auto job = std::make_shared<LentCopy>(lender, info[1].ToBoolean().Value(), deadline, std::move(pieces));
  if (job->bytes() <= kLentAtOnceBytes) {
    for (size_t unit = 0; unit < job->units(); ++unit) job->run(unit);
    job->end();
    return Napi::String::New(env, job->problem());
  }
  const auto answer = [job](Napi::Env answerEnv) -> Napi::Value { return Napi::String::New(answerEnv, job->problem()); };
  job->holds = std::move(holds);
  return start(env, job, job->units(), info[5].ToNumber().Uint32Value(), info[3].As<Napi::Object>(), answer);
}

// (kind, buffers, words, threads) → running; resolves with checksums or null when it was canceled. Five words a range:
// index of the buffer and offset that it is read from, the same that it is written to, bytes.
Napi::Value bulk(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto kind = static_cast<Bulk>(info[0].ToNumber().Uint32Value());
  std::vector<MappingRef> holds;
  const std::vector<Memory> memories = memoriesOf(info[1], holds);
  auto words = wordsOf(info[2], 5);
  const double* word = words.Data();
  std::vector<Range> ranges(words.ElementLength() / 5);
  for (size_t i = 0; i < ranges.size(); ++i, word += 5) {
    uint8_t* const to = kind == Bulk::kChecksum ? nullptr : placeOf(env, memories, word + 2, word[4], i);
    ranges[i] = {placeOf(env, memories, word, word[4], i), to, static_cast<uint64_t>(word[4])};
  }
  const auto job = std::make_shared<BulkJob>(kind, std::move(ranges));
  const auto answer = [job](Napi::Env answerEnv) -> Napi::Value {
    if (job->canceled()) return answerEnv.Null();
    const auto& found = job->checksums();
    auto checksums = Napi::BigUint64Array::New(answerEnv, found.size());
    std::copy(found.begin(), found.end(), checksums.Data());
    return checksums;
  };
  if (job->bytes() <= kAtOnceBytes) return atOnce(env, *job, job->units(), answer);
  job->holds = std::move(holds);
  return start(env, job, job->units(), info[3].ToNumber().Uint32Value(), info[1].As<Napi::Object>(), answer);
}

}  // namespace stator::hostmem
