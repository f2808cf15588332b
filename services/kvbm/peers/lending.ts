import type { Region, TransferAgent, TransferBackend } from '#lib/transfer/transfer.ts';
import type { HostTier } from '../host-tier.ts';

/** How one agent knows a slab. */
export interface LentSlab {
  readonly agent: TransferAgent;
  readonly region: Region;
}

/** Makes slabs known to transfer agents, each once, at first use: as what others read and as where own pulls arrive. */
export class Lending {
  readonly agents: readonly TransferAgent[];
  readonly #host: HostTier;
  readonly #slabs = new Map<number, Promise<readonly LentSlab[]>>();
  readonly #holds: (() => void)[] = [];

  constructor(agents: readonly TransferAgent[], host: HostTier) {
    this.agents = agents;
    this.#host = host;
  }

  /** The slab of a layout, as each agent knows it. */
  of(layout: number): Promise<readonly LentSlab[]> {
    const known = this.#slabs.get(layout);
    if (known !== undefined) return known;
    const registered = this.#register(layout);
    this.#slabs.set(layout, registered);
    registered.catch(() => this.#slabs.delete(layout));
    return registered;
  }

  async region(layout: number, backend: TransferBackend): Promise<Region | undefined> {
    return (await this.of(layout)).find(({ agent }) => agent.backend === backend)?.region;
  }

  /** Ends the agents, then lets go of the slabs. */
  async close(): Promise<void> {
    await Promise.allSettled(this.agents.map((agent) => agent.close()));
    for (const release of this.#holds.splice(0)) release();
  }

  async #register(layout: number): Promise<readonly LentSlab[]> {
    this.#holds.push(this.#host.hold(layout));
    const { buffer } = this.#host.slabOf(layout).memory;
    const lent = this.agents.map(async (agent) => ({
      agent,
      region: await agent.register(buffer, { readOnly: true }),
    }));
    return Promise.all(lent);
  }
}
