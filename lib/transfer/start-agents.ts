import type { NixlBinding } from './nixl/binding.ts';
import type { HostMemory } from './shm/host-memory.ts';
import type { TcpAgentOptions } from './tcp/agent.ts';
import { type TransferAgent, type TransferBackend, transferBackends } from './transfer.ts';

/** What loads the addons, passed in because lib/ imports none; called only for back ends that are wanted. */
export interface TransferAddons {
  hostMemory(): Promise<HostMemory>;
  /** Throws where the library cannot be loaded. */
  nixl(library: string): Promise<NixlBinding>;
}

export interface StartAgentsOptions extends TcpAgentOptions {
  readonly backends: readonly TransferBackend[];
  /** Path of NIXL's library; unset: where it is looked for. */
  readonly nixlLibrary: string | undefined;
  readonly addons: TransferAddons;
  /** Told of a back end that does not work here. What it throws ends the start; agents that were started are closed. */
  readonly failed: (backend: TransferBackend, error: unknown) => void;
}

/** Starts an agent for each of the back ends that works on this machine. */
export async function startTransferAgents(options: StartAgentsOptions): Promise<TransferAgent[]> {
  const { backends, failed } = options;
  const agents: TransferAgent[] = [];
  try {
    for (const backend of transferBackends.filter((each) => backends.includes(each))) {
      const agent = await start(backend, options).catch((error: unknown) => failed(backend, error));
      if (agent !== undefined) agents.push(agent);
    }
    return agents;
  } catch (error) {
    for (const agent of agents) await agent.close();
    throw error;
  }
}

async function start(backend: TransferBackend, options: StartAgentsOptions): Promise<TransferAgent> {
  const { addons, nixlLibrary: configured } = options;
  if (backend === 'tcp') return (await import('./tcp/agent.ts')).startTcpAgent(options);
  if (backend === 'shm') return (await import('./shm/agent.ts')).startShmAgent(options, await addons.hostMemory());
  const [{ startNixlAgent }, { keepToHost }, { nixlLibrary }] = await Promise.all([
    import('./nixl/agent.ts'),
    import('./nixl/devices.ts'),
    import('./nixl/library.ts'),
  ]);
  keepToHost(options.host ?? '127.0.0.1');
  return startNixlAgent(options, await addons.nixl(nixlLibrary(configured)));
}
