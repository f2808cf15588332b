#pragma once

#include <llama.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace stator {

// What a process writes before the bytes of a block. Little-endian; docs/engine-kv.md describes it.
struct KvBlockHeader {
  uint32_t magic = 0;
  uint16_t version = 0;
  uint16_t headerBytes = 0;
  uint64_t checksum = 0;    // XXH3-64 of the payload, seeded with that of this header with a checksum of 0
  uint8_t model[16] = {};   // first bytes of the model's digest
  char release[32] = {};    // of llama.cpp
  uint32_t keyType = 0;     // ggml_type
  uint32_t valueType = 0;
  uint32_t flags = 0;       // bit 0: flash attention, so values are not transposed
  uint32_t blockTokens = 0;
  uint32_t position = 0;    // of the first token
  uint32_t reserved = 0;
  uint64_t prefixHash = 0;  // of all tokens up to the block's end, without adapter and salt
  uint64_t payloadBytes = 0;
  uint64_t layoutHash = 0;  // of the payload's structure
  uint8_t padding[16] = {};
};
static_assert(sizeof(KvBlockHeader) == 128);

// What identifies the engine that a block comes from.
struct KvBlockOrigin {
  std::vector<uint8_t> model;  // digest of the model, at least 16 bytes
  ggml_type keyType = GGML_TYPE_F16;
  ggml_type valueType = GGML_TYPE_F16;
  uint32_t blockTokens = 0;
};

// The bytes of one full block of one context: header, then the state that llama.cpp writes of a sequence that has just
// that block's cells, in one canonical form: cells by position, sequence ids 0. The same block has the same bytes
// wherever its cells lie.
class KvBlockFormat {
 public:
  // Learns the structure from the state of a sequence with one cell. Nothing if it is none that this code knows.
  static std::optional<KvBlockFormat> learn(std::span<const uint8_t> probe, KvBlockOrigin origin);

  size_t bytes() const { return sizeof(KvBlockHeader) + payloadBytes_; }
  size_t payloadBytes() const { return payloadBytes_; }
  uint32_t blockTokens() const { return origin_.blockTokens; }
  // Of the state of so many neighbouring blocks together.
  size_t stateBytes(uint32_t blocks) const;
  bool flashAttention() const { return !transposed_; }

  // Completes a block whose payload llama.cpp has just written behind the room for the header.
  // Throws std::runtime_error if the payload is not a full block at `position`.
  void seal(std::span<uint8_t> block, uint32_t position, uint64_t prefixHash) const;

  // The same for the state of neighbouring blocks that llama.cpp wrote at once: each block gets its part. Without a state,
  // there is one block, which holds its own.
  void split(std::span<const uint8_t> state, uint32_t position, std::span<const std::span<uint8_t>> blocks, std::span<const uint64_t> prefixes) const;

  // Makes the state of neighbouring blocks, none of which is to be rejected. Whatever llama.cpp will read as numbers is
  // written anew.
  void join(std::span<const std::span<uint8_t>> blocks, uint32_t position, std::span<uint8_t> state) const;

  // Why the bytes are not the block at `position` of that prefix; empty: they are, and llama.cpp may read the payload.
  std::string reject(std::span<const uint8_t> block, uint32_t position, uint64_t prefixHash) const;

 private:
  // The payload is a row of pieces.
  struct Piece {
    enum class Kind { kFixed, kCells, kRows, kColumns };
    Kind kind;
    std::vector<uint8_t> fixed = {};  // kFixed: these bytes
    size_t cellBytes = 0;             // kRows: of one cell; kColumns: of one element
    size_t columns = 0;               // kColumns: runs of one element for each cell
  };
  class Reader;

  bool parse(std::span<const uint8_t> probe, bool values);
  bool parseCache(Reader& reader, bool values);
  size_t pieceBytes(const Piece& piece) const;
  KvBlockHeader header(uint32_t position, uint64_t prefixHash) const;
  std::string rejectHeader(const KvBlockHeader& header, uint32_t position, uint64_t prefixHash) const;
  void complete(std::span<uint8_t> block, uint32_t position, uint64_t prefixHash) const;
  std::vector<uint8_t> fixedOf(size_t piece, uint32_t blocks) const;

  KvBlockOrigin origin_;
  std::vector<Piece> pieces_;
  size_t payloadBytes_ = 0;
  uint64_t layoutHash_ = 0;
  bool transposed_ = false;
};

}  // namespace stator
