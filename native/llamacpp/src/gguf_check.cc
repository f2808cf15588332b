#include "gguf_check.h"

#include <fcntl.h>
#include <ggml.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <unordered_set>
#include <vector>

#include "errors.h"

static_assert(std::endian::native == std::endian::little, "GGUF files are read as little-endian");

namespace stator {
namespace {

constexpr uint64_t kMaxKeys = 1u << 20;
constexpr uint64_t kMaxTensors = 1u << 20;
constexpr uint64_t kMaxNameBytes = 1u << 16;
constexpr uint32_t kDefaultAlignment = 32;
constexpr int kMaxArrayDepth = 4;

// GGUF value types in the order of the format.
enum ValueType : uint32_t { kUint8, kInt8, kUint16, kInt16, kUint32, kInt32, kFloat32, kBool, kString, kArray, kUint64, kInt64, kFloat64 };

uint64_t scalarBytes(uint32_t type) {
  switch (type) {
    case kUint8: case kInt8: case kBool: return 1;
    case kUint16: case kInt16: return 2;
    case kUint32: case kInt32: case kFloat32: return 4;
    case kUint64: case kInt64: case kFloat64: return 8;
    default: return 0;
  }
}

[[noreturn]] void damaged(const std::string& path, const std::string& what) {
  throw invalid("model", path + " is not a usable GGUF file: " + what + ".");
}

class Reader {
 public:
  Reader(const std::string& path, FILE* file, uint64_t size) : path_(path), file_(file), size_(size) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return size_ - position_; }

  template <typename T>
  T number(const char* what) {
    T value;
    bytes(&value, sizeof value, what);
    return value;
  }

  void bytes(void* to, size_t count, const char* what) {
    if (count > remaining() || std::fread(to, 1, count, file_) != count) truncated(what);
    position_ += count;
  }

  void skip(uint64_t count, const char* what) {
    if (count > remaining() || fseeko(file_, static_cast<off_t>(count), SEEK_CUR) != 0) truncated(what);
    position_ += count;
  }

  std::string name(const char* what) {
    const auto length = number<uint64_t>(what);
    if (length == 0 || length > kMaxNameBytes) damaged(path_, std::string(what) + " has a length of " + std::to_string(length));
    std::string text(length, '\0');
    bytes(text.data(), length, what);
    return text;
  }

  void skipValue(uint32_t type, int depth) {
    if (type == kString) return skip(number<uint64_t>("a string"), "a string");
    if (type == kArray) return skipArray(depth);
    const uint64_t width = scalarBytes(type);
    if (width == 0) damaged(path_, "unknown value type " + std::to_string(type));
    skip(width, "a value");
  }

 private:
  void skipArray(int depth) {
    if (depth >= kMaxArrayDepth) damaged(path_, "arrays are nested too deeply");
    const auto type = number<uint32_t>("an array");
    const auto count = number<uint64_t>("an array");
    if (const uint64_t width = scalarBytes(type)) {
      if (count > remaining() / width) truncated("an array");
      return skip(count * width, "an array");
    }
    if (count > remaining() / 8) truncated("an array");
    for (uint64_t i = 0; i < count; ++i) skipValue(type, depth + 1);
  }

  [[noreturn]] void truncated(const char* what) {
    damaged(path_, "it ends inside " + std::string(what) + " at byte " + std::to_string(position_) + " of " + std::to_string(size_));
  }

  const std::string& path_;
  FILE* file_;
  uint64_t size_;
  uint64_t position_ = 0;
};

struct Closer {
  void operator()(FILE* file) const { std::fclose(file); }
};

std::unique_ptr<FILE, Closer> open(const std::string& path, uint64_t& size) {
  std::unique_ptr<FILE, Closer> file(std::fopen(path.c_str(), "rb"));
  if (!file) {
    const int code = errno;
    if (code == ENOENT || code == ENOTDIR) throw CodedError("not_found", "model", "There is no file " + path + ".");
    if (code == EACCES || code == EPERM) throw CodedError("permission_denied", "model", "No permission to read " + path + ".");
    throw invalid("model", path + " cannot be opened: " + std::strerror(code) + ".");
  }
  struct stat status {};
  if (fstat(fileno(file.get()), &status) != 0) throw invalid("model", path + " cannot be examined: " + std::strerror(errno) + ".");
  if (!S_ISREG(status.st_mode)) throw invalid("model", path + " is not a file.");
  size = static_cast<uint64_t>(status.st_size);
  return file;
}

uint32_t readKeys(const std::string& path, Reader& reader, uint64_t count) {
  uint32_t alignment = kDefaultAlignment;
  std::unordered_set<std::string> seen;
  for (uint64_t i = 0; i < count; ++i) {
    const std::string key = reader.name("a key");
    if (!seen.insert(key).second) damaged(path, "key " + key + " appears twice");
    const auto type = reader.number<uint32_t>("a value type");
    if (key != "general.alignment") {
      reader.skipValue(type, 0);
      continue;
    }
    if (type != kUint32) damaged(path, "general.alignment is not a uint32");
    alignment = reader.number<uint32_t>("general.alignment");
    if (!std::has_single_bit(alignment) || alignment > (1u << 20)) damaged(path, "general.alignment is " + std::to_string(alignment));
  }
  return alignment;
}

struct Tensor {
  std::string name;
  uint64_t offset;
  uint64_t bytes;
};

Tensor readTensor(const std::string& path, Reader& reader) {
  Tensor tensor{reader.name("a tensor name"), 0, 0};
  if (tensor.name.size() >= GGML_MAX_NAME) damaged(path, "a tensor name is too long");
  const auto dimensions = reader.number<uint32_t>("a tensor");
  if (dimensions == 0 || dimensions > GGML_MAX_DIMS) damaged(path, "tensor " + tensor.name + " has " + std::to_string(dimensions) + " dimensions");
  uint64_t elements = 1;
  uint64_t row = 1;
  for (uint32_t i = 0; i < dimensions; ++i) {
    const auto size = reader.number<uint64_t>("a tensor");
    if (size == 0 || size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) / 64 / elements) {
      damaged(path, "tensor " + tensor.name + " has a dimension of " + std::to_string(size));
    }
    elements *= size;
    if (i == 0) row = size;
  }
  const auto type = reader.number<uint32_t>("a tensor");
  if (type >= GGML_TYPE_COUNT || ggml_blck_size(static_cast<ggml_type>(type)) <= 0 || ggml_type_size(static_cast<ggml_type>(type)) == 0) {
    damaged(path, "tensor " + tensor.name + " has the unknown type " + std::to_string(type));
  }
  const auto block = static_cast<uint64_t>(ggml_blck_size(static_cast<ggml_type>(type)));
  if (row % block != 0) damaged(path, "the rows of tensor " + tensor.name + " do not fill whole blocks");
  tensor.bytes = elements / block * ggml_type_size(static_cast<ggml_type>(type));
  tensor.offset = reader.number<uint64_t>("a tensor");
  return tensor;
}

}  // namespace

void checkGguf(const std::string& path) {
  uint64_t size = 0;
  const auto file = open(path, size);
  Reader reader(path, file.get(), size);
  char magic[4];
  reader.bytes(magic, sizeof magic, "the magic number");
  if (std::memcmp(magic, "GGUF", 4) != 0) damaged(path, "it does not begin with GGUF");
  const auto version = reader.number<uint32_t>("the version");
  if (version != 2 && version != 3) damaged(path, "version " + std::to_string(version) + " is not supported (2 and 3 are)");
  const auto tensors = reader.number<uint64_t>("the header");
  const auto keys = reader.number<uint64_t>("the header");
  if (tensors > kMaxTensors || keys > kMaxKeys) damaged(path, "it claims " + std::to_string(tensors) + " tensors and " + std::to_string(keys) + " keys");

  const uint64_t alignment = readKeys(path, reader, keys);
  std::vector<Tensor> all;
  std::unordered_set<std::string> seen;
  for (uint64_t i = 0; i < tensors; ++i) {
    all.push_back(readTensor(path, reader));
    if (!seen.insert(all.back().name).second) damaged(path, "tensor " + all.back().name + " appears twice");
  }
  const uint64_t data = (reader.position() + alignment - 1) / alignment * alignment;
  for (const Tensor& tensor : all) {
    if (tensor.offset % alignment != 0) damaged(path, "tensor " + tensor.name + " is not aligned");
    if (data > size || tensor.offset > size - data || tensor.bytes > size - data - tensor.offset) {
      damaged(path, "tensor " + tensor.name + " lies beyond its end; it is truncated");
    }
  }
}

}  // namespace stator
