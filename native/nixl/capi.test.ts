import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { findNixlHeader } from '#tests/support/nixl.ts';
import { skip } from '#tests/support/skip.ts';

const run = promisify(execFile);
const ownHeader = path.join(import.meta.dirname, 'src/capi.h');

/** A program that compiles only if our declarations and the published ones mean the same. */
function comparison(published: string, own: string): string {
  return `
#include "${published}"
#include "${own}"
#include <type_traits>
namespace own = stator::nixl;
template <typename A, typename B> constexpr bool same() {
  if constexpr (std::is_pointer_v<A> || std::is_pointer_v<B>) return std::is_pointer_v<A> && std::is_pointer_v<B>;
  else return sizeof(A) == sizeof(B) && std::is_signed_v<std::conditional_t<std::is_enum_v<A>, int, A>> == std::is_signed_v<std::conditional_t<std::is_enum_v<B>, int, B>>;
}
template <typename A, typename B> struct Signature : std::false_type {};
template <typename RA, typename... A, typename RB, typename... B>
struct Signature<RA (*)(A...), RB (*)(B...)> {
  static constexpr bool compare() {
    if constexpr (sizeof...(A) != sizeof...(B)) return false;
    else return same<RA, RB>() && (same<A, B>() && ...);
  }
  static constexpr bool value = compare();
};
#define CHECK(name, result, parameters) static_assert(Signature<result(*) parameters, decltype(&nixl_capi_##name)>::value, #name);
namespace stator::nixl { STATOR_NIXL_FUNCTIONS(CHECK) }
#define FIELD(mine, theirs) static_assert(offsetof(own::AgentConfig, mine) == offsetof(nixl_capi_agent_config_t, theirs) && \\
  sizeof(own::AgentConfig::mine) == sizeof(nixl_capi_agent_config_t::theirs), #mine);
FIELD(progressThread, enable_prog_thread) FIELD(listenThread, enable_listen_thread) FIELD(listenPort, listen_port)
FIELD(threadSync, thread_sync) FIELD(workers, num_workers) FIELD(progressDelayUs, pthr_delay_us)
FIELD(listenDelayUs, lthr_delay_us) FIELD(telemetry, capture_telemetry)
static_assert(sizeof(own::AgentConfig) == sizeof(nixl_capi_agent_config_t));
#define MEASURE(mine, theirs) static_assert(offsetof(own::TransferTelemetry, mine) == offsetof(nixl_capi_xfer_telemetry_s, theirs), #mine);
MEASURE(startUs, start_time_us) MEASURE(postUs, post_duration_us) MEASURE(transferUs, xfer_duration_us)
MEASURE(bytes, total_bytes) MEASURE(descriptors, desc_count)
static_assert(sizeof(own::TransferTelemetry) == sizeof(nixl_capi_xfer_telemetry_s));
#define VALUE(mine, theirs) static_assert(static_cast<int>(own::mine) == static_cast<int>(theirs), #mine);
VALUE(kInProgress, NIXL_CAPI_IN_PROG) VALUE(kSuccess, NIXL_CAPI_SUCCESS) VALUE(kInvalidParam, NIXL_CAPI_ERROR_INVALID_PARAM)
VALUE(kBackend, NIXL_CAPI_ERROR_BACKEND) VALUE(kInvalidState, NIXL_CAPI_ERROR_INVALID_STATE) VALUE(kException, NIXL_CAPI_ERROR_EXCEPTION)
VALUE(kNoTelemetry, NIXL_CAPI_ERROR_NO_TELEMETRY) VALUE(kNotFound, NIXL_CAPI_ERROR_NOT_FOUND)
VALUE(kDram, NIXL_CAPI_MEM_DRAM) VALUE(kVram, NIXL_CAPI_MEM_VRAM) VALUE(kBlock, NIXL_CAPI_MEM_BLOCK)
VALUE(kObject, NIXL_CAPI_MEM_OBJECT) VALUE(kFile, NIXL_CAPI_MEM_FILE) VALUE(kUnknownMemory, NIXL_CAPI_MEM_UNKNOWN)
VALUE(kSyncNone, NIXL_CAPI_THREAD_SYNC_NONE) VALUE(kSyncStrict, NIXL_CAPI_THREAD_SYNC_STRICT) VALUE(kSyncReadWrite, NIXL_CAPI_THREAD_SYNC_RW)
VALUE(kRead, NIXL_CAPI_XFER_OP_READ) VALUE(kWrite, NIXL_CAPI_XFER_OP_WRITE)
`;
}

describe('declarations of NIXL', function () {
  this.timeout(60_000);
  let folder: string;
  let published: string;

  before(async function () {
    published = findNixlHeader() ?? skip(this, 'the header of the crate nixl-sys is not here');
    folder = await mkdtemp(path.join(tmpdir(), 'stator-capi-'));
  });
  after(async () => folder !== undefined && rm(folder, { recursive: true }));

  async function compile(own: string): Promise<void> {
    const source = path.join(folder, 'comparison.cc');
    await writeFile(source, comparison(published, own));
    await run('c++', ['-std=c++20', '-fsyntax-only', source]);
  }

  it('have the layouts, values and signatures of the published header', () => compile(ownHeader));

  it('are refused where a field, a signature or a value differs', async () => {
    const text = await readFile(ownHeader, 'utf8');
    const altered = path.join(folder, 'altered.h');
    for (const [from, to] of [
      ['  uint64_t progressDelayUs;\n', ''],
      ['(NotificationMap map, size_t* size)', '(NotificationMap map, size_t size)'],
      ['kNoTelemetry = -5', 'kNoTelemetry = -7'],
    ] as const) {
      expect(text).to.contain(from);
      await writeFile(altered, text.replace(from, to));
      const failure = await compile(altered).catch((error: unknown) => String(error));
      expect(failure, to).to.match(/error/);
    }
  });
});
