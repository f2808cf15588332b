#include "arguments.h"

#include <array>
#include <cmath>
#include <limits>

namespace stator::nixl {
namespace {

constexpr size_t kMaxRanges = 1u << 20;
constexpr size_t kMaxNotification = 1u << 20;
constexpr std::array<const char*, 5> kMemoryNames = {"dram", "vram", "block", "object", "file"};

Napi::Value member(const Napi::Value& value, const char* name) {
  if (!value.IsObject()) throw invalid(name, std::string(name) + " is missing.");
  return value.As<Napi::Object>().Get(name);
}

}  // namespace

std::string text(const Napi::Value& value, const char* field) {
  if (!value.IsString()) throw invalid(field, std::string(field) + " must be text.");
  std::string result = value.As<Napi::String>().Utf8Value();
  // NIXL takes C strings, which end at the first NUL.
  if (result.find('\0') != std::string::npos) throw invalid(field, std::string(field) + " must not contain NUL.");
  return result;
}

std::string bytes(const Napi::Value& value, const char* field) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    throw invalid(field, std::string(field) + " must be a Uint8Array.");
  const auto array = value.As<Napi::Uint8Array>();
  return {reinterpret_cast<const char*>(array.Data()), array.ByteLength()};
}

uint32_t number(const Napi::Value& value, const char* field) {
  const double given = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(given >= 0 && given <= std::numeric_limits<uint32_t>::max() && std::floor(given) == given))
    throw invalid(field, std::string(field) + " must be a whole number that fits 32 bits.");
  return static_cast<uint32_t>(given);
}

std::map<std::string, std::string> textMap(const Napi::Value& value, const char* field) {
  if (!value.IsObject()) throw invalid(field, std::string(field) + " must be an object.");
  const auto object = value.As<Napi::Object>();
  const Napi::Array names = object.GetPropertyNames();
  std::map<std::string, std::string> result;
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const std::string key = text(names.Get(i), field);
    result.emplace(key, text(object.Get(key), field));
  }
  return result;
}

std::vector<int> indices(const Napi::Value& value, const char* field) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array)
    throw invalid(field, std::string(field) + " must be an Int32Array.");
  const auto array = value.As<Napi::Int32Array>();
  if (array.ElementLength() == 0) throw invalid(field, std::string(field) + " must not be empty.");
  return {array.Data(), array.Data() + array.ElementLength()};
}

MemoryType memoryType(const Napi::Value& value, const char* field) {
  const std::string name = text(value, field);
  for (size_t i = 0; i < kMemoryNames.size(); ++i) {
    if (name == kMemoryNames[i]) return static_cast<MemoryType>(i);
  }
  throw invalid(field, std::string(field) + " must be dram, vram, block, object or file.");
}

const char* memoryName(MemoryType type) {
  const auto index = static_cast<size_t>(type);
  return index < kMemoryNames.size() ? kMemoryNames[index] : "unknown";
}

RangeList rangeList(const Napi::Value& value, const char* field) {
  RangeList list{memoryType(member(value, "memory"), "memory"), {}, {}};
  const Napi::Value packed = member(value, "ranges");
  if (!packed.IsTypedArray() || packed.As<Napi::TypedArray>().TypedArrayType() != napi_biguint64_array)
    throw invalid(field, std::string(field) + ".ranges must be a BigUint64Array.");
  const auto words = packed.As<Napi::BigUint64Array>();
  const size_t count = words.ElementLength() / 3;
  if (count == 0 || count > kMaxRanges || count * 3 != words.ElementLength())
    throw invalid(field, std::string(field) + " must have 1 to " + std::to_string(kMaxRanges) + " ranges of three words each.");
  const bool sized = list.type != kFile && list.type != kObject && list.type != kBlock;
  for (size_t i = 0; i < count; ++i) {
    const Range range{static_cast<uintptr_t>(words[i * 3]), static_cast<size_t>(words[i * 3 + 1]), words[i * 3 + 2]};
    if (sized && (range.address == 0 || range.bytes == 0 || range.address + range.bytes < range.address))
      throw invalid(field, std::string(field) + "[" + std::to_string(i) + "] is no range of memory.");
    list.ranges.push_back(range);
  }
  const Napi::Value meta = member(value, "meta");
  if (!meta.IsArray()) return list;
  const auto texts = meta.As<Napi::Array>();
  if (texts.Length() != count) throw invalid(field, std::string(field) + ".meta must have one text for each range.");
  for (uint32_t i = 0; i < texts.Length(); ++i) list.meta.push_back(text(texts.Get(i), field));
  return list;
}

TransferOptions transferOptions(const Napi::Value& value, uint64_t id) {
  const std::string operation = text(member(value, "operation"), "operation");
  if (operation != "read" && operation != "write") throw invalid("operation", "operation must be read or write.");
  const uint32_t timeoutMs = number(member(value, "timeoutMs"), "timeoutMs");
  TransferOptions options{id, operation == "read" ? kRead : kWrite, number(member(value, "backend"), "backend"), std::nullopt,
                          Clock::now() + std::chrono::milliseconds(timeoutMs)};
  const Napi::Value notification = member(value, "notification");
  if (!notification.IsNull()) {
    options.notification = bytes(notification, "notification");
    if (options.notification->size() > kMaxNotification) throw invalid("notification", "A notification holds at most 1 MiB.");
  }
  return options;
}

}  // namespace stator::nixl
