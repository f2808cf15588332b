// Files in shared memory: made whole before they have a name, mapped only when nobody else can have tampered with them.
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>

#include "memory.h"

namespace stator::hostmem {
namespace {

constexpr uint64_t kHugePage = 2u << 20;
// Between two looks at the cancel flag.
constexpr uint64_t kAllocateBytes = 64u << 20;

struct File {
  int fd = -1;
  ~File() {
    if (fd >= 0) close(fd);
  }
};

std::string failed(const char* step) { return std::string("failed ") + step + " " + std::to_string(errno); }

bool noSpace() { return errno == ENOSPC || errno == EDQUOT || errno == ENOMEM; }

uint64_t pageOf(int fd) {
  struct statfs system{};
  if (fstatfs(fd, &system) == 0 && static_cast<unsigned long>(system.f_type) == HUGETLBFS_MAGIC) return static_cast<uint64_t>(system.f_bsize);
  return static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

uint64_t roundUp(uint64_t bytes, uint64_t page) { return (bytes + page - 1) / page * page; }

// Holes would be SIGBUS later, where the file system is full by then.
std::string allocate(int fd, uint64_t bytes, const std::atomic<bool>& canceled, std::atomic<uint64_t>& progress) {
  for (uint64_t done = 0; done < bytes;) {
    if (canceled.load(std::memory_order_relaxed)) return "canceled";
    const uint64_t length = std::min(bytes - done, kAllocateBytes);
    int status = fallocate(fd, 0, static_cast<off_t>(done), static_cast<off_t>(length)) == 0 ? 0 : errno;
    if (status == EINTR) continue;
    if (status == EOPNOTSUPP) status = posix_fallocate(fd, static_cast<off_t>(done), static_cast<off_t>(length));
    errno = status;
    if (status != 0) return noSpace() ? "full" : failed("fallocate");
    done += length;
    progress.store(done, std::memory_order_relaxed);
  }
  return "";
}

// First number after a word in a file of `word number` lines; `missing` where there is none.
uint64_t numberIn(const char* path, const std::string& word, uint64_t missing) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(word)) return std::strtoull(line.c_str() + word.size(), nullptr, 10);
  return missing;
}

// Bytes that this process may still take: tmpfs gives more than the machine or the container has, and the kernel then kills someone.
uint64_t memoryLeft() {
  const uint64_t machine = numberIn("/proc/meminfo", "MemAvailable:", UINT64_MAX >> 10) << 10;
  const uint64_t limit = numberIn("/sys/fs/cgroup/memory.max", "", 0);  // "max" is 0 here
  if (limit == 0) return machine;
  const uint64_t used = numberIn("/sys/fs/cgroup/memory.current", "", 0);
  const uint64_t cached = numberIn("/sys/fs/cgroup/memory.stat", "inactive_file ", 0);
  return std::min(machine, limit - std::min(limit, used - std::min(used, cached)));
}

std::string room(int fd, uint64_t bytes) {
  struct statfs system{};
  if (fstatfs(fd, &system) != 0) return failed("statfs");
  // It names no free space unless it is limited.
  if (static_cast<unsigned long>(system.f_type) == HUGETLBFS_MAGIC) return "";
  if (bytes > static_cast<uint64_t>(system.f_bavail) * static_cast<uint64_t>(system.f_bsize)) return "full";
  return static_cast<unsigned long>(system.f_type) == TMPFS_MAGIC && bytes > memoryLeft() ? "full" : "";
}

std::string draftName(const std::string& path) {
  std::random_device random;
  char suffix[32];
  std::snprintf(suffix, sizeof suffix, ".%08x%08x.new", random(), random());
  return path + suffix;
}

// A file without a name where the file system can do that: whatever happens to this process, nothing is left behind.
std::string openDraft(const std::string& path, File& file, std::string& draft) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  file.fd = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file.fd >= 0) return "";
  if (errno == ENOENT || errno == EACCES || errno == ENOTDIR) return failed("open");
  draft = draftName(path);
  file.fd = open(draft.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
  return file.fd >= 0 ? "" : failed("create");
}

// '' also when another process was first; `exists` then.
std::string create(const OpenRequest& request, File& file, bool& exists, const std::atomic<bool>& canceled,
                   std::atomic<uint64_t>& progress) {
  std::string draft;
  std::string problem = openDraft(request.path, file, draft);
  if (problem.empty() && fchmod(file.fd, 0600) != 0) problem = failed("chmod");
  if (problem.empty()) {
    const uint64_t bytes = roundUp(request.bytes, pageOf(file.fd));
    problem = room(file.fd, bytes);
    if (problem.empty() && ftruncate(file.fd, static_cast<off_t>(bytes)) != 0) problem = noSpace() ? "full" : failed("truncate");
    if (problem.empty()) problem = allocate(file.fd, bytes, canceled, progress);
  }
  if (problem.empty()) {
    const std::string source = draft.empty() ? "/proc/self/fd/" + std::to_string(file.fd) : draft;
    if (linkat(AT_FDCWD, source.c_str(), AT_FDCWD, request.path.c_str(), AT_SYMLINK_FOLLOW) != 0) {
      exists = errno == EEXIST;
      if (!exists) problem = failed("link");
    }
  }
  if (!draft.empty()) unlink(draft.c_str());
  return problem;
}

std::string openExisting(const std::string& path, File& file) {
  file.fd = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file.fd >= 0) return "";
  if (errno == ENOENT) return "missing";
  if (errno == ELOOP) return "symlink";
  if (errno == EISDIR || errno == ENXIO) return "kind";
  return failed("open");
}

std::string check(int fd, const OpenRequest& request, uint64_t page, uint64_t& bytes, bool& whole) {
  struct stat status{};
  if (fstat(fd, &status) != 0) return failed("stat");
  if (!S_ISREG(status.st_mode)) return "kind";
  if (status.st_uid != geteuid()) return "foreign";
  if ((status.st_mode & 077) != 0) return "mode";
  bytes = static_cast<uint64_t>(status.st_size);
  if (bytes == 0 || (request.bytes != 0 && bytes != roundUp(request.bytes, page))) return "size " + std::to_string(bytes);
  whole = static_cast<uint64_t>(status.st_blocks) * 512 >= bytes;
  return "";
}

MappingRef map(int fd, uint64_t fileBytes, uint64_t bytes, uint64_t page) {
  const uint64_t boundary = std::max(page, kHugePage);
  const size_t reservedBytes = roundUp(fileBytes, boundary) + boundary;
  void* raw = mmap(nullptr, reservedBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  auto* data = reinterpret_cast<uint8_t*>(roundUp(reinterpret_cast<uintptr_t>(raw), boundary));
  if (mmap(data, fileBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
    const int why = errno;
    munmap(raw, reservedBytes);
    errno = why;
    return nullptr;
  }
  madvise(data, fileBytes, MADV_HUGEPAGE);
  // It holds what users wrote.
  madvise(data, fileBytes, MADV_DONTDUMP);
  return std::make_shared<Mapping>(raw, reservedBytes, data, bytes);
}

}  // namespace

Opened openShared(const OpenRequest& request, const std::atomic<bool>& canceled, std::atomic<uint64_t>& progress) {
  Opened opened;
  File file;
  opened.problem = openExisting(request.path, file);
  if (opened.problem == "missing" && request.create) {
    bool exists = false;
    File draft;
    opened.problem = create(request, draft, exists, canceled, progress);
    if (!opened.problem.empty()) return opened;
    opened.created = !exists;
    if (exists) opened.problem = openExisting(request.path, file);
    else std::swap(file.fd, draft.fd);
  }
  if (!opened.problem.empty()) return opened;
  opened.pageBytes = pageOf(file.fd);
  uint64_t fileBytes = 0;
  bool whole = false;
  opened.problem = check(file.fd, request, opened.pageBytes, fileBytes, whole);
  if (opened.problem.empty() && !whole) opened.problem = allocate(file.fd, fileBytes, canceled, progress);
  if (!opened.problem.empty()) return opened;
  const uint64_t bytes = request.bytes == 0 ? fileBytes : request.bytes;
  opened.mapping = map(file.fd, fileBytes, bytes, opened.pageBytes);
  if (opened.mapping == nullptr) opened.problem = noSpace() ? "full" : failed("map");
  return opened;
}

}  // namespace stator::hostmem
