#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

namespace stator {

// Bytes that are not what the contract says.
class MalformedMessage : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Wire types of Protocol Buffers: https://protobuf.dev/programming-guides/encoding/
enum class Wire : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kGroup = 3, kGroupEnd = 4, kFixed32 = 5 };

struct Field {
  uint32_t number;
  Wire wire;
};

// Reads one encoded message; every access is checked against its end.
class WireReader {
 public:
  WireReader(const uint8_t* bytes, size_t length) : at_(bytes), end_(bytes + length) {}

  bool done() const { return at_ == end_; }
  const uint8_t* at() const { return at_; }
  size_t left() const { return static_cast<size_t>(end_ - at_); }

  Field field() {
    const uint64_t tag = varint();
    const uint64_t number = tag >> 3;
    if (number == 0 || number > 0x1fffffff) throw MalformedMessage("a field number is out of range");
    return {static_cast<uint32_t>(number), static_cast<Wire>(tag & 7)};
  }

  uint64_t varint() {
    if (at_ != end_ && *at_ < 0x80) return *at_++;
    uint64_t value = 0;
    for (uint32_t shift = 0; shift < 70; shift += 7) {
      if (at_ == end_) throw MalformedMessage("it ends inside a number");
      const uint8_t byte = *at_++;
      if (shift < 64) value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
    throw MalformedMessage("a number is longer than 10 bytes");
  }

  uint64_t fixed64() {
    uint64_t value;
    std::memcpy(&value, take(sizeof(value)), sizeof(value));
    return value;
  }

  WireReader bytes() {
    const uint64_t length = varint();
    if (length > left()) throw MalformedMessage("it ends inside a field");
    return {take(static_cast<size_t>(length)), static_cast<size_t>(length)};
  }

  void skip(Field field) { skip(field, 0); }

 private:
  const uint8_t* take(size_t length) {
    if (length > left()) throw MalformedMessage("it ends inside a field");
    const uint8_t* taken = at_;
    at_ += length;
    return taken;
  }

  void skip(Field field, int depth) {
    switch (field.wire) {
      case Wire::kVarint: varint(); return;
      case Wire::kFixed64: take(8); return;
      case Wire::kBytes: bytes(); return;
      case Wire::kFixed32: take(4); return;
      case Wire::kGroup: return skipGroup(field.number, depth);
      default: throw MalformedMessage("a field has an unknown wire type");
    }
  }

  void skipGroup(uint32_t number, int depth) {
    if (depth >= 100) throw MalformedMessage("groups are nested too deep");
    for (;;) {
      const Field inner = field();
      if (inner.wire == Wire::kGroupEnd) {
        if (inner.number != number) throw MalformedMessage("a group ends as another");
        return;
      }
      skip(inner, depth + 1);
    }
  }

  const uint8_t* at_;
  const uint8_t* end_;
};

}  // namespace stator
