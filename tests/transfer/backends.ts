import { startNixlAgent } from '#lib/transfer/nixl/agent.ts';
import { startShmAgent } from '#lib/transfer/shm/agent.ts';
import { startTcpAgent } from '#lib/transfer/tcp/agent.ts';
import type { AgentOptions, TransferAgent, TransferBackend } from '#lib/transfer/transfer.ts';
import { hostMemory } from '#native/hostmem/index.ts';
import { Nixl } from '#native/nixl/index.ts';
import { findNixl } from '#tests/support/nixl.ts';

/** An agent of one back end, wired with its addon as services do it. */
export function startAgent(backend: TransferBackend, options: AgentOptions): Promise<TransferAgent> {
  if (backend === 'tcp') return startTcpAgent(options);
  if (backend === 'shm') return startShmAgent(options, hostMemory());
  return startNixlAgent(options, new Nixl(findNixl() ?? 'libnixl_capi.so'));
}
