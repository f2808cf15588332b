#pragma once

#include <napi.h>

#include <exception>
#include <memory>
#include <stdexcept>
#include <utility>

#include "wire.h"

namespace stator {

inline Napi::Error malformed(Napi::Env env, const MalformedMessage& error) {
  Napi::Error thrown = Napi::Error::New(env, std::string("These bytes are no message of KV events: ") + error.what() + ".");
  thrown.Set("name", Napi::String::New(env, "MalformedEventsError"));
  thrown.Set("code", Napi::String::New(env, "invalid_argument"));
  thrown.Set("field", Napi::String::New(env, "message"));
  return thrown;
}

// A function property that holds its share of `state`; what it throws becomes a JavaScript exception.
template <typename State, typename Function>
void method(Napi::Object object, const char* name, std::shared_ptr<State> state, Function function) {
  const auto guarded = [state = std::move(state), function](const Napi::CallbackInfo& info) -> Napi::Value {
    try {
      return function(*state, info);
    } catch (const Napi::Error&) {
      throw;
    } catch (const std::out_of_range& error) {
      throw Napi::RangeError::New(info.Env(), error.what());
    } catch (const MalformedMessage& error) {
      throw malformed(info.Env(), error);
    } catch (const std::exception& error) {
      throw Napi::Error::New(info.Env(), error.what());
    }
  };
  object.Set(name, Napi::Function::New(object.Env(), guarded, name));
}

}  // namespace stator
