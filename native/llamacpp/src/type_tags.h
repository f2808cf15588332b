#pragma once

#include <napi.h>

namespace stator {

// Every handle that JavaScript holds carries one of these, so that a wrong handle throws instead of corrupting memory.
inline constexpr napi_type_tag kModelTag = {0x5b2f9f1c7d0a4e31, 0x9a6e0d3b8c1f4a72};
inline constexpr napi_type_tag kEngineTag = {0x2d8c46a1b93e4f05, 0x8f11c7e2a5d04b6d};
inline constexpr napi_type_tag kEmbedderTag = {0x71e3a90cf6b84d2a, 0xb04d5c8e1f7a4392};

}  // namespace stator
