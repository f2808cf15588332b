#pragma once

#include <napi.h>

#include <memory>
#include <string>
#include <utility>

#include "errors.h"
#include "type_tags.h"

namespace stator {

// A tagged external that owns one share of `object`.
template <typename T>
Napi::Value share(Napi::Env env, std::shared_ptr<T> object, const napi_type_tag& tag) {
  auto* owner = new std::shared_ptr<T>(std::move(object));
  auto external = Napi::External<std::shared_ptr<T>>::New(env, owner, [](Napi::Env, std::shared_ptr<T>* held) { delete held; });
  external.TypeTag(&tag);
  return external;
}

template <typename T>
std::shared_ptr<T>& ownerFrom(const Napi::Value& value, const napi_type_tag& tag, const char* what) {
  if (!value.IsExternal() || !value.As<Napi::External<std::shared_ptr<T>>>().CheckTypeTag(&tag)) {
    throw Napi::TypeError::New(value.Env(), std::string("not a ") + what + " handle");
  }
  return *value.As<Napi::External<std::shared_ptr<T>>>().Data();
}

template <typename T>
std::shared_ptr<T> shareFrom(const Napi::Value& value, const napi_type_tag& tag, const char* what) {
  const std::shared_ptr<T>& owner = ownerFrom<T>(value, tag, what);
  if (!owner) throw CodedError("internal", "", std::string("the ") + what + " was freed before");
  return owner;
}

template <typename T>
void release(const Napi::Value& value, const napi_type_tag& tag, const char* what) {
  ownerFrom<T>(value, tag, what).reset();
}

}  // namespace stator
