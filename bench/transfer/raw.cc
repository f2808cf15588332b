// What the system itself reaches, without Stator: `raw PID ADDRESS BYTES`. For each line `WHAT PIECE_BYTES PIECES TIMES STRIDE` on its
// input it moves as much once, then so often, and answers with the GB/s of those. WHAT: memcpy, readv (process_vm_readv from
// the process PID, which takes every STRIDE-th piece there), socket (loopback, from a child).
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

constexpr size_t kHugePage = 2u << 20;
constexpr size_t kChunk = 4u << 20;

char* memory(size_t bytes) {
  auto start = reinterpret_cast<uintptr_t>(mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  start = (start + kHugePage - 1) / kHugePage * kHugePage;
  auto* data = reinterpret_cast<char*>(start);
  madvise(data, bytes, MADV_HUGEPAGE);
  std::memset(data, 1, bytes);
  return data;
}

// Connected to a child that sends as many bytes as the number asks for.
int startSender(size_t bytes) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), length) != 0 || listen(listener, 1) != 0) return -1;
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length);
  if (fork() == 0) {
    const int out = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(out, reinterpret_cast<sockaddr*>(&address), length) != 0) _exit(1);
    const int on = 1;
    setsockopt(out, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    char* data = memory(bytes);
    for (uint64_t wanted = 0; read(out, &wanted, sizeof wanted) == static_cast<ssize_t>(sizeof wanted);)
      for (uint64_t sent = 0; sent < wanted;) {
        const ssize_t done = write(out, data + sent, std::min<uint64_t>(wanted - sent, kChunk));
        if (done <= 0) _exit(1);
        sent += static_cast<uint64_t>(done);
      }
    _exit(0);
  }
  return accept(listener, nullptr, nullptr);
}

bool fromSocket(int in, char* to, uint64_t bytes) {
  if (write(in, &bytes, sizeof bytes) != static_cast<ssize_t>(sizeof bytes)) return false;
  for (uint64_t got = 0; got < bytes;) {
    const ssize_t done = read(in, to + got, bytes - got);
    if (done <= 0) return false;
    got += static_cast<uint64_t>(done);
  }
  return true;
}

bool fromProcess(pid_t pid, uint64_t from, char* to, size_t pieceBytes, size_t pieces, size_t stride) {
  const size_t bytes = pieceBytes * pieces;
  std::vector<iovec> here, there;
  for (size_t at = 0; at < bytes;) {
    here.clear();
    there.clear();
    for (size_t taken = 0; at < bytes && taken < kChunk && here.size() < 512;) {
      const size_t length = std::min({pieceBytes, kChunk, bytes - at});
      here.push_back({to + at, length});
      const size_t place = at / pieceBytes * stride % pieces * pieceBytes + at % pieceBytes;
      there.push_back({reinterpret_cast<void*>(from + place), length});
      at += length;
      taken += length;
    }
    if (process_vm_readv(pid, here.data(), here.size(), there.data(), there.size(), 0) < 0) return false;
  }
  return true;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 4) return 2;
  const auto pid = static_cast<pid_t>(std::atoi(arguments[1]));
  const uint64_t from = std::strtoull(arguments[2], nullptr, 10);
  const size_t total = std::strtoull(arguments[3], nullptr, 10);
  char* to = memory(total);
  const char* source = memory(total);
  const int in = startSender(total);
  char what[16];
  size_t pieceBytes = 0;
  size_t pieces = 0;
  size_t times = 0;
  size_t stride = 0;
  while (std::scanf("%15s %zu %zu %zu %zu", what, &pieceBytes, &pieces, &times, &stride) == 5) {
    const size_t bytes = pieceBytes * pieces;
    bool moved = bytes <= total;
    const auto move = [&] {
      if (!moved) return;
      if (std::strcmp(what, "memcpy") == 0)
        for (size_t at = 0; at < bytes; at += pieceBytes) std::memcpy(to + at, source + at, pieceBytes);
      else if (std::strcmp(what, "readv") == 0) moved = fromProcess(pid, from, to, pieceBytes, pieces, stride);
      else moved = fromSocket(in, to, bytes);
    };
    move();
    const auto start = std::chrono::steady_clock::now();
    for (size_t time = 0; time < times; ++time) move();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("%g\n", moved ? static_cast<double>(bytes * times) / seconds / 1e9 : -1.0);
    std::fflush(stdout);
  }
}
