import type { Logger } from 'pino';
import { startNixlAgent } from '#lib/transfer/nixl/agent.ts';
import { nixlLibrary } from '#lib/transfer/nixl/library.ts';
import { startShmAgent } from '#lib/transfer/shm/agent.ts';
import { startTcpAgent, type TcpAgentOptions } from '#lib/transfer/tcp/agent.ts';
import type { TransferAgent, TransferBackend } from '#lib/transfer/transfer.ts';
import { hostMemory } from '#native/hostmem/index.ts';
import { Nixl } from '#native/nixl/index.ts';
import { addressOf, dramRanges } from '#native/nixl/ranges.ts';

export interface AgentsOptions extends TcpAgentOptions {
  /** All that work here, or this one alone. */
  readonly only: TransferBackend | undefined;
  /** Path of NIXL's library; unset: where it is looked for. */
  readonly nixlLibrary: string | undefined;
  readonly log: Logger;
}

/** Starts the transfer agents that work on this machine. One alone that does not work is an error. */
export async function startTransferAgents({ only, log, ...options }: AgentsOptions): Promise<TransferAgent[]> {
  const agents: TransferAgent[] = [];
  const starts: Record<TransferBackend, () => Promise<TransferAgent>> = {
    shm: () => startShmAgent(options, hostMemory()),
    nixl: () => startNixl(options),
    tcp: () => startTcpAgent(options),
  };
  for (const backend of ['shm', 'nixl', 'tcp'] as const) {
    if (only !== undefined && only !== backend) continue;
    try {
      agents.push(await starts[backend]());
    } catch (error) {
      if (only === backend) throw error;
      log.debug({ err: error, backend }, 'a transfer back end is not used');
    }
  }
  return agents;
}

function startNixl(options: Omit<AgentsOptions, 'only' | 'log'>): Promise<TransferAgent> {
  const nixl = new Nixl(nixlLibrary(options.nixlLibrary));
  return startNixlAgent(options, { openAgent: (each) => nixl.openAgent(each), addressOf, dramRanges });
}
