#pragma once

#include <napi.h>

#include <map>
#include <string>
#include <vector>

#include "agent.h"

namespace stator::nixl {

// Reads the values that the typed facade passes; wrong ones become `invalid_argument` with the field's name.
std::string text(const Napi::Value& value, const char* field);
std::string bytes(const Napi::Value& value, const char* field);
uint32_t number(const Napi::Value& value, const char* field);
std::map<std::string, std::string> textMap(const Napi::Value& value, const char* field);
std::vector<int> indices(const Napi::Value& value, const char* field);
MemoryType memoryType(const Napi::Value& value, const char* field);
const char* memoryName(MemoryType type);
// From { memory, ranges: BigUint64Array of (address, bytes, device), meta: string[] | null }.
RangeList rangeList(const Napi::Value& value, const char* field);
// From { operation, backend, notification, timeoutMs }.
TransferOptions transferOptions(const Napi::Value& value, uint64_t id);

}  // namespace stator::nixl
