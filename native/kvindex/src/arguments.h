#pragma once

#include <napi.h>

#include <cstdint>
#include <string>

#include "hashes.h"

namespace stator {

template <typename T>
struct View {
  T* data = nullptr;
  size_t length = 0;
};

template <typename T>
View<T> viewOf(const Napi::Value& value, napi_typedarray_type wanted, const char* name) {
  napi_typedarray_type type{};
  View<T> view;
  void* data = nullptr;
  const napi_status status = napi_get_typedarray_info(value.Env(), value, &type, &view.length, &data, nullptr, nullptr);
  if (status != napi_ok || type != wanted) throw Napi::TypeError::New(value.Env(), std::string(name) + " has not the type of array that is expected");
  view.data = static_cast<T*>(data);
  return view;
}

inline View<uint32_t> uint32s(const Napi::Value& value, const char* name) {
  return viewOf<uint32_t>(value, napi_uint32_array, name);
}

inline View<uint8_t> bytesOf(const Napi::Value& value, const char* name) {
  return viewOf<uint8_t>(value, napi_uint8_array, name);
}

inline Hashes hashesOf(const Napi::Value& value, const char* name) {
  const View<uint8_t> bytes = bytesOf(value, name);
  if (bytes.length % sizeof(uint64_t) != 0) {
    throw Napi::RangeError::New(value.Env(), std::string(name) + " has a length that is no multiple of 8");
  }
  return {bytes.data, bytes.length / sizeof(uint64_t)};
}

inline uint32_t uint32Of(const Napi::Value& value, const char* name) {
  double number = -1;
  if (napi_get_value_double(value.Env(), value, &number) != napi_ok || !(number >= 0 && number <= UINT32_MAX) ||
      number != static_cast<double>(static_cast<uint32_t>(number))) {
    throw Napi::RangeError::New(value.Env(), std::string(name) + " must be a whole number of 32 bits");
  }
  return static_cast<uint32_t>(number);
}

inline double numberOf(const Napi::Value& value, const char* name) {
  double number = 0;
  if (napi_get_value_double(value.Env(), value, &number) != napi_ok || !(number >= 0)) {
    throw Napi::RangeError::New(value.Env(), std::string(name) + " must be a number from 0");
  }
  return number;
}

}  // namespace stator
