#pragma once

#include <napi.h>

#include <stdexcept>
#include <string>
#include <utility>

#include "capi.h"

namespace stator::nixl {

// What reaches JavaScript as an Error with `code`, `status` and `field`. A code is one of errors.ts beside index.ts.
class NixlError : public std::runtime_error {
 public:
  NixlError(std::string code, std::string status, std::string field, const std::string& message)
      : std::runtime_error(message), code_(std::move(code)), status_(std::move(status)), field_(std::move(field)) {}

  const std::string& code() const { return code_; }
  // NIXL's name for it; empty where the failure is not NIXL's.
  const std::string& status() const { return status_; }
  const std::string& field() const { return field_; }

 private:
  std::string code_;
  std::string status_;
  std::string field_;
};

// NIXL's own names (nixl_status_t); those that its C ABI cannot express are found by the agent itself.
inline NixlError invalid(const std::string& field, const std::string& message) {
  return {"invalid_argument", "NIXL_ERR_INVALID_PARAM", field, message};
}

inline NixlError notFound(const std::string& field, const std::string& message) {
  return {"not_found", "NIXL_ERR_NOT_FOUND", field, message};
}

inline NixlError inUse(const std::string& message) { return {"in_use", "NIXL_ERR_NOT_ALLOWED", "", message}; }

NixlError failed(Status status, const std::string& what);

// Throws unless the call succeeded.
inline void require(Status status, const std::string& what) {
  if (status != kSuccess) throw failed(status, what);
}

struct ErrorInfo {
  std::string code;
  std::string status;
  std::string field;
  std::string message;
};

inline ErrorInfo describe(const std::exception& error) {
  if (const auto* own = dynamic_cast<const NixlError*>(&error)) return {own->code(), own->status(), own->field(), own->what()};
  return {"internal", "", "", error.what()};
}

inline Napi::Error toNapi(Napi::Env env, const ErrorInfo& info) {
  const auto text = [&](const std::string& value) { return value.empty() ? env.Null() : Napi::Value(Napi::String::New(env, value)); };
  Napi::Error error = Napi::Error::New(env, info.message);
  error.Set("name", Napi::String::New(env, "NixlError"));
  error.Set("code", Napi::String::New(env, info.code));
  error.Set("status", text(info.status));
  error.Set("field", text(info.field));
  return error;
}

// Runs a binding function; whatever it throws becomes a JavaScript exception.
template <typename Function>
Napi::Value guarded(Napi::Env env, Function&& function) {
  try {
    return function();
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw toNapi(env, describe(error));
  }
}

}  // namespace stator::nixl
