#pragma once

#include <napi.h>

#include <stdexcept>
#include <string>
#include <utility>

#include "abort_guard.h"

namespace stator {

// An error whose code is a row of lib/errors/codes.ts; it reaches JavaScript as an Error with `code` and `field`.
class CodedError : public std::runtime_error {
 public:
  CodedError(std::string code, std::string field, const std::string& message)
      : std::runtime_error(message), code_(std::move(code)), field_(std::move(field)) {}

  const std::string& code() const { return code_; }
  const std::string& field() const { return field_; }

 private:
  std::string code_;
  std::string field_;
};

inline CodedError invalid(const std::string& field, const std::string& message) {
  return {"invalid_argument", field, message};
}

// An error that crosses from a native thread to the event loop.
struct ErrorInfo {
  std::string code;
  std::string field;
  std::string message;
};

inline ErrorInfo describe(const std::exception& error) {
  if (const auto* coded = dynamic_cast<const CodedError*>(&error)) return {coded->code(), coded->field(), coded->what()};
  return {"internal", "", error.what()};
}

inline Napi::Error toNapi(Napi::Env env, const ErrorInfo& info) {
  Napi::Error error = Napi::Error::New(env, info.message);
  error.Set("code", Napi::String::New(env, info.code));
  error.Set("field", info.field.empty() ? env.Null() : Napi::Value(Napi::String::New(env, info.field)));
  return error;
}

// Runs a binding function; whatever it throws becomes a JavaScript exception.
template <typename Function>
Napi::Value guarded(Napi::Env env, Function&& function) {
  const AbortGuard guard;
  try {
    return function();
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw toNapi(env, describe(error));
  }
}

}  // namespace stator
