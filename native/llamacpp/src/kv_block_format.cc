#include "kv_block_format.h"

#include <ggml.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "block_hash.h"
#include "checksum.h"

namespace stator {
namespace {

constexpr uint32_t kMagic = 0x564b5453;  // "STKV"
constexpr uint16_t kVersion = 1;
constexpr uint32_t kStateMagic = 0xaf143cd8;  // of llama.cpp's sequence states
constexpr uint32_t kMaxLayers = 4096;
constexpr uint32_t kFlashAttention = 1;

// Of one cell, as it lies in the state.
struct CellMeta {
  int32_t position;
  uint32_t sequences;
  int32_t sequence;
};
static_assert(sizeof(CellMeta) == 12);

uint64_t checksumOf(KvBlockHeader header, const uint8_t* payload, size_t bytes) {
  header.checksum = 0;
  return checksum(payload, bytes, XXH3_64bits(&header, sizeof header));
}

CellMeta cellAt(const uint8_t* cells, size_t index) {
  CellMeta meta;
  std::memcpy(&meta, cells + index * sizeof meta, sizeof meta);
  return meta;
}

// Puts equally long items into the order given.
void sortRun(uint8_t* items, size_t itemBytes, const std::vector<uint32_t>& order) {
  const std::vector<uint8_t> before(items, items + itemBytes * order.size());
  for (size_t i = 0; i < order.size(); ++i) std::memcpy(items + i * itemBytes, before.data() + order[i] * itemBytes, itemBytes);
}

// Which cell of a state was at each position.
struct CellOrder {
  std::vector<uint32_t> cells;
  bool sorted = true;

  CellOrder() = default;
  CellOrder(const uint8_t* metas, uint32_t position, uint32_t tokens) : cells(tokens, tokens) {
    for (uint32_t i = 0; i < tokens; ++i) {
      const uint32_t place = static_cast<uint32_t>(cellAt(metas, i).position) - position;
      if (place >= tokens || cells[place] != tokens) throw std::runtime_error("the cells are not those of the block");
      cells[place] = i;
      sorted = sorted && place == i;
    }
  }
};

// Writes cells in the order of their positions.
void numberCells(uint8_t* cells, uint32_t position, uint32_t tokens) {
  for (uint32_t i = 0; i < tokens; ++i) {
    const CellMeta meta{static_cast<int32_t>(position + i), 1, 0};
    std::memcpy(cells + i * sizeof meta, &meta, sizeof meta);
  }
}

constexpr const char* kOtherStructure = "llama.cpp wrote a state of another structure";

}  // namespace

// Takes numbers from the probe; false at its end.
class KvBlockFormat::Reader {
 public:
  explicit Reader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  template <typename T>
  bool take(T& value) {
    if (bytes_.size() < sizeof value) return false;
    std::memcpy(&value, bytes_.data(), sizeof value);
    return skip(sizeof value);
  }

  bool skip(size_t count) {
    if (bytes_.size() < count) return false;
    bytes_ = bytes_.subspan(count);
    return true;
  }

  bool done() const { return bytes_.empty(); }

 private:
  std::span<const uint8_t> bytes_;
};

std::optional<KvBlockFormat> KvBlockFormat::learn(std::span<const uint8_t> probe, KvBlockOrigin origin) {
  KvBlockFormat format;
  format.origin_ = std::move(origin);
  // Models that keep one latent row for keys and values write no values.
  if (!format.parse(probe, true) && !format.parse(probe, false)) return std::nullopt;
  std::vector<uint8_t> structure;
  for (const Piece& piece : format.pieces_) {
    format.payloadBytes_ += format.pieceBytes(piece);
    const uint64_t numbers[3] = {static_cast<uint64_t>(piece.kind), piece.cellBytes, piece.columns};
    const auto* first = reinterpret_cast<const uint8_t*>(numbers);
    structure.insert(structure.end(), first, first + sizeof numbers);
    structure.insert(structure.end(), piece.fixed.begin(), piece.fixed.end());
  }
  format.layoutHash_ = XXH3_64bits(structure.data(), structure.size());
  return format;
}

bool KvBlockFormat::parse(std::span<const uint8_t> probe, bool values) {
  pieces_.clear();
  Reader reader(probe);
  uint32_t magic = 0;
  int32_t sequence = 0;
  if (!reader.take(magic) || magic != kStateMagic || !reader.take(sequence)) return false;
  const uint32_t start[2] = {magic, 0};
  const auto* first = reinterpret_cast<const uint8_t*>(start);
  pieces_.push_back({Piece::Kind::kFixed, {first, first + sizeof start}});
  while (!reader.done()) {
    if (!parseCache(reader, values)) return false;
  }
  return pieces_.size() > 1;
}

// One cache: of all layers, or of those with or without a sliding window.
bool KvBlockFormat::parseCache(Reader& reader, bool values) {
  const auto fixed = [&](auto... numbers) {
    std::vector<uint8_t> bytes;
    const auto append = [&bytes](const auto& number) {
      const auto* from = reinterpret_cast<const uint8_t*>(&number);
      bytes.insert(bytes.end(), from, from + sizeof number);
    };
    (append(numbers), ...);
    pieces_.push_back({Piece::Kind::kFixed, std::move(bytes)});
  };
  uint32_t streams = 0, cells = 0, transposed = 0, layers = 0;
  CellMeta meta{};
  if (!reader.take(streams) || streams != 1 || !reader.take(cells) || cells != 1) return false;
  if (!reader.take(meta) || meta.position != 0 || meta.sequences != 1) return false;
  if (!reader.take(transposed) || transposed > 1 || !reader.take(layers) || layers > kMaxLayers) return false;
  transposed_ = transposed == 1;
  fixed(streams, origin_.blockTokens);
  pieces_.push_back({Piece::Kind::kCells});
  fixed(transposed, layers);

  const auto rows = [&](ggml_type expected) {
    int32_t type = 0;
    uint64_t bytes = 0;
    if (!reader.take(type) || type != expected || !reader.take(bytes) || bytes == 0 || !reader.skip(bytes)) return false;
    fixed(type, bytes);
    pieces_.push_back({Piece::Kind::kRows, {}, static_cast<size_t>(bytes)});
    return true;
  };
  const auto columns = [&](ggml_type expected) {
    int32_t type = 0;
    uint32_t element = 0, width = 0;
    if (!reader.take(type) || type != expected || !reader.take(element) || element != ggml_type_size(expected)) return false;
    if (!reader.take(width) || width == 0 || !reader.skip(size_t{element} * width)) return false;
    fixed(type, element, width);
    pieces_.push_back({Piece::Kind::kColumns, {}, element, width});
    return true;
  };
  for (uint32_t i = 0; i < layers; ++i) {
    if (!rows(origin_.keyType)) return false;
  }
  for (uint32_t i = 0; values && i < layers; ++i) {
    if (!(transposed_ ? columns(origin_.valueType) : rows(origin_.valueType))) return false;
  }
  return true;
}

size_t KvBlockFormat::pieceBytes(const Piece& piece) const {
  const size_t cells = origin_.blockTokens;
  switch (piece.kind) {
    case Piece::Kind::kFixed: return piece.fixed.size();
    case Piece::Kind::kCells: return cells * sizeof(CellMeta);
    case Piece::Kind::kRows: return cells * piece.cellBytes;
    case Piece::Kind::kColumns: return cells * piece.cellBytes * piece.columns;
  }
  return 0;
}

KvBlockHeader KvBlockFormat::header(uint32_t position, uint64_t prefixHash) const {
  KvBlockHeader header;
  header.magic = kMagic;
  header.version = kVersion;
  header.headerBytes = sizeof header;
  std::memcpy(header.model, origin_.model.data(), std::min(sizeof header.model, origin_.model.size()));
  std::strncpy(header.release, llama_version(), sizeof header.release - 1);
  header.keyType = static_cast<uint32_t>(origin_.keyType);
  header.valueType = static_cast<uint32_t>(origin_.valueType);
  header.flags = flashAttention() ? kFlashAttention : 0;
  header.blockTokens = origin_.blockTokens;
  header.position = position;
  header.prefixHash = prefixHash;
  header.payloadBytes = payloadBytes_;
  header.layoutHash = layoutHash_;
  return header;
}

void KvBlockFormat::seal(std::span<uint8_t> block, uint32_t position, uint64_t prefixHash) const {
  if (block.size() != bytes()) throw std::runtime_error("a block of the wrong size");
  uint8_t* const payload = block.data() + sizeof(KvBlockHeader);
  std::memset(payload + sizeof(uint32_t), 0, sizeof(int32_t));  // the sequence id
  CellOrder order;
  uint8_t* at = payload;
  for (const Piece& piece : pieces_) {
    switch (piece.kind) {
      case Piece::Kind::kFixed:
        if (std::memcmp(at, piece.fixed.data(), piece.fixed.size()) != 0) throw std::runtime_error(kOtherStructure);
        break;
      case Piece::Kind::kCells:
        order = CellOrder(at, position, origin_.blockTokens);
        numberCells(at, position, origin_.blockTokens);
        break;
      case Piece::Kind::kRows:
        if (!order.sorted) sortRun(at, piece.cellBytes, order.cells);
        break;
      case Piece::Kind::kColumns:
        for (size_t i = 0; !order.sorted && i < piece.columns; ++i) sortRun(at + i * piece.cellBytes * order.cells.size(), piece.cellBytes, order.cells);
        break;
    }
    at += pieceBytes(piece);
  }
  complete(block, position, prefixHash);
}

void KvBlockFormat::complete(std::span<uint8_t> block, uint32_t position, uint64_t prefixHash) const {
  KvBlockHeader head = header(position, prefixHash);
  head.checksum = checksumOf(head, block.data() + sizeof head, payloadBytes_);
  std::memcpy(block.data(), &head, sizeof head);
}

size_t KvBlockFormat::stateBytes(uint32_t blocks) const {
  size_t once = 0;
  for (const Piece& piece : pieces_) once += piece.fixed.size();
  return once + (payloadBytes_ - once) * blocks;
}

// A fixed piece in the state of several blocks: the number of cells, before the cells, is another.
std::vector<uint8_t> KvBlockFormat::fixedOf(size_t piece, uint32_t blocks) const {
  std::vector<uint8_t> fixed = pieces_[piece].fixed;
  if (piece + 1 == pieces_.size() || pieces_[piece + 1].kind != Piece::Kind::kCells) return fixed;
  const uint32_t cells = origin_.blockTokens * blocks;
  std::memcpy(fixed.data() + fixed.size() - sizeof cells, &cells, sizeof cells);
  return fixed;
}

void KvBlockFormat::split(std::span<const uint8_t> state, uint32_t position, std::span<const std::span<uint8_t>> blocks, std::span<const uint64_t> prefixes) const {
  if (state.empty()) return seal(blocks[0], position, prefixes[0]);
  const uint32_t tokens = origin_.blockTokens;
  const auto count = static_cast<uint32_t>(blocks.size());
  CellOrder order;
  const uint8_t* at = state.data();
  size_t to = sizeof(KvBlockHeader);
  for (size_t i = 0; i < pieces_.size(); ++i) {
    const Piece& piece = pieces_[i];
    // The state begins with the sequence id, which is not compared.
    if (piece.kind == Piece::Kind::kFixed) {
      const std::vector<uint8_t> fixed = fixedOf(i, count);
      const size_t compared = i == 0 ? sizeof(uint32_t) : fixed.size();
      if (std::memcmp(at, fixed.data(), compared) != 0) throw std::runtime_error(kOtherStructure);
      for (const auto& block : blocks) std::memcpy(block.data() + to, piece.fixed.data(), piece.fixed.size());
      at += fixed.size();
    } else if (piece.kind == Piece::Kind::kCells) {
      order = CellOrder(at, position, tokens * count);
      for (uint32_t b = 0; b < count; ++b) numberCells(blocks[b].data() + to, position + b * tokens, tokens);
      at += size_t{tokens} * count * sizeof(CellMeta);
    } else {
      const size_t runs = piece.kind == Piece::Kind::kRows ? 1 : piece.columns;
      const size_t runBytes = tokens * piece.cellBytes;
      for (size_t run = 0; run < runs; ++run) {
        for (uint32_t b = 0; b < count; ++b) {
          uint8_t* const into = blocks[b].data() + to + run * runBytes;
          if (order.sorted) {
            std::memcpy(into, at + b * runBytes, runBytes);
            continue;
          }
          for (uint32_t cell = 0; cell < tokens; ++cell) std::memcpy(into + cell * piece.cellBytes, at + order.cells[b * tokens + cell] * piece.cellBytes, piece.cellBytes);
        }
        at += runBytes * count;
      }
    }
    to += pieceBytes(piece);
  }
  for (uint32_t b = 0; b < count; ++b) complete(blocks[b], position + b * tokens, prefixes[b]);
}

void KvBlockFormat::join(std::span<const std::span<uint8_t>> blocks, uint32_t position, std::span<uint8_t> state) const {
  const uint32_t tokens = origin_.blockTokens;
  const auto count = static_cast<uint32_t>(blocks.size());
  uint8_t* at = state.data();
  size_t from = sizeof(KvBlockHeader);
  for (size_t i = 0; i < pieces_.size(); ++i) {
    const Piece& piece = pieces_[i];
    if (piece.kind == Piece::Kind::kFixed) {
      const std::vector<uint8_t> fixed = fixedOf(i, count);
      std::memcpy(at, fixed.data(), fixed.size());
      at += fixed.size();
    } else if (piece.kind == Piece::Kind::kCells) {
      numberCells(at, position, tokens * count);
      at += size_t{tokens} * count * sizeof(CellMeta);
    } else {
      const size_t runs = piece.kind == Piece::Kind::kRows ? 1 : piece.columns;
      const size_t runBytes = tokens * piece.cellBytes;
      for (size_t run = 0; run < runs; ++run) {
        for (const auto& block : blocks) {
          std::memcpy(at, block.data() + from + run * runBytes, runBytes);
          at += runBytes;
        }
      }
    }
    from += pieceBytes(piece);
  }
}

std::string KvBlockFormat::reject(std::span<const uint8_t> block, uint32_t position, uint64_t prefixHash) const {
  if (block.size() != bytes()) return "it has " + std::to_string(block.size()) + " bytes, a block has " + std::to_string(bytes());
  KvBlockHeader head;
  std::memcpy(&head, block.data(), sizeof head);
  if (std::string reason = rejectHeader(head, position, prefixHash); !reason.empty()) return reason;
  const uint8_t* const payload = block.data() + sizeof head;
  if (checksumOf(head, payload, payloadBytes_) != head.checksum) return "its checksum is wrong";
  // A checksum proves no intent: what llama.cpp will read as numbers must be exactly what it would write itself.
  const uint8_t* at = payload;
  for (const Piece& piece : pieces_) {
    if (piece.kind == Piece::Kind::kFixed && std::memcmp(at, piece.fixed.data(), piece.fixed.size()) != 0) return "its structure is another one";
    for (uint32_t i = 0; piece.kind == Piece::Kind::kCells && i < origin_.blockTokens; ++i) {
      const CellMeta meta = cellAt(at, i);
      if (meta.position != static_cast<int32_t>(position + i) || meta.sequences != 1 || meta.sequence != 0) return "its cells are not in order";
    }
    at += pieceBytes(piece);
  }
  return {};
}

std::string KvBlockFormat::rejectHeader(const KvBlockHeader& head, uint32_t position, uint64_t prefixHash) const {
  const KvBlockHeader own = header(position, prefixHash);
  if (head.magic != own.magic) return "it has no block header";
  if (head.version != own.version || head.headerBytes != own.headerBytes) return "its header is of version " + std::to_string(head.version) + ", not " + std::to_string(own.version);
  if (std::memcmp(head.model, own.model, sizeof own.model) != 0) return "it is of another model";
  if (std::memcmp(head.release, own.release, sizeof own.release) != 0) return "it is of another release of llama.cpp";
  if (head.keyType != own.keyType || head.valueType != own.valueType) return "its keys or values have another type";
  if (head.flags != own.flags) return flashAttention() ? "it was computed without flash attention" : "it was computed with flash attention";
  if (head.blockTokens != own.blockTokens) return "it has " + std::to_string(head.blockTokens) + " tokens, not " + std::to_string(own.blockTokens);
  if (head.position != own.position) return "it begins at token " + std::to_string(head.position) + ", not " + std::to_string(own.position);
  if (head.prefixHash != own.prefixHash) return "it belongs to other tokens";
  if (head.payloadBytes != own.payloadBytes || head.layoutHash != own.layoutHash) return "its structure is another one";
  return {};
}

}  // namespace stator
