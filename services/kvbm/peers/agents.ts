import type { Logger } from 'pino';
import {
  type StartAgentsOptions,
  startTransferAgents as startAgents,
  type TransferAddons,
} from '#lib/transfer/start-agents.ts';
import { type TransferAgent, type TransferBackend, transferBackends } from '#lib/transfer/transfer.ts';
import { hostMemory } from '#native/hostmem/index.ts';
import { Nixl } from '#native/nixl/index.ts';

export interface AgentsOptions extends Omit<StartAgentsOptions, 'backends' | 'addons' | 'failed'> {
  /** All that work here, or this one alone. */
  readonly only: TransferBackend | undefined;
  readonly log: Logger;
}

const addons: TransferAddons = {
  hostMemory: async () => hostMemory(),
  nixl: async (library) => new Nixl(library),
};

/** Starts the transfer agents that work on this machine. One alone that does not work is an error. */
export function startTransferAgents({ only, log, ...options }: AgentsOptions): Promise<TransferAgent[]> {
  const failed = (backend: TransferBackend, error: unknown): void => {
    if (only === backend) throw error;
    log.debug({ err: error, backend }, 'a transfer back end is not used');
  };
  return startAgents({ ...options, backends: only === undefined ? transferBackends : [only], addons, failed });
}
