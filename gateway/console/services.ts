import { type Instance, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { KvBlockService, StatsResponse } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import type { RpcClient } from '#lib/rpc/client.ts';

/** Opens a connection to a block manager. */
export type OpenBlockManager = (instance: Instance) => RpcClient<typeof KvBlockService>;

const kinds: Partial<Record<ServiceKind, string>> = {
  [ServiceKind.GATEWAY]: 'gateway',
  [ServiceKind.TOKENIZER]: 'tokenizer',
  [ServiceKind.ROUTER]: 'router',
  [ServiceKind.WORKER]: 'worker',
  [ServiceKind.KVBM]: 'kvbm',
  [ServiceKind.PLANNER]: 'planner',
};

/** Milliseconds that a service may take to tell of itself. */
const askTimeoutMs = 1000;

export interface ShownService {
  readonly id: string;
  readonly kind: string;
  readonly name: string;
  readonly address: string;
}

/** A block manager's memory of one layout in one tier. */
export interface ShownTier {
  readonly kvbm: string;
  readonly tier: string;
  readonly format: string;
  readonly blocks: number;
  readonly registered: number;
  readonly free: number;
  readonly slot_bytes: number;
}

const tierNames = ['', 'host', 'disk', 'object', 'peer'];

/** Every service that discovery knows, for the console; asks block managers how full they are. */
export class KnownServices {
  readonly #open: OpenBlockManager;
  readonly #instances = new Map<bigint, Instance>();
  readonly #managers = new Map<bigint, RpcClient<typeof KvBlockService>>();

  constructor(open: OpenBlockManager) {
    this.#open = open;
  }

  up(instance: Instance): void {
    const known = this.#instances.get(instance.instanceId);
    if (known !== undefined && known.address !== instance.address) this.down(instance);
    this.#instances.set(instance.instanceId, instance);
  }

  down({ instanceId }: Instance): void {
    this.#instances.delete(instanceId);
    this.#managers.get(instanceId)?.close();
    this.#managers.delete(instanceId);
  }

  shown(): ShownService[] {
    return [...this.#instances.values()].map(({ instanceId, kind, name, address }) => ({
      id: instanceId.toString(),
      kind: kinds[kind] ?? 'other',
      name,
      address,
    }));
  }

  /** Tiers of every block manager that answers in time. */
  async tiers(): Promise<ShownTier[]> {
    const managers = [...this.#instances.values()].filter(({ kind }) => kind === ServiceKind.KVBM);
    const answers = await Promise.all(managers.map((instance) => this.#stats(instance)));
    return answers.flatMap((stats, at) => (stats === null ? [] : tiersOf(managers[at]?.name ?? '', stats)));
  }

  close(): void {
    for (const manager of this.#managers.values()) manager.close();
    this.#managers.clear();
  }

  async #stats(instance: Instance): Promise<StatsResponse | null> {
    let manager = this.#managers.get(instance.instanceId);
    if (manager === undefined) {
      manager = this.#open(instance);
      this.#managers.set(instance.instanceId, manager);
    }
    return await manager.client.stats({}, { timeoutMs: askTimeoutMs }).catch(() => null);
  }
}

function tiersOf(kvbm: string, { arenas }: StatsResponse): ShownTier[] {
  return arenas.map(({ tier, layout, blocks, registered, free, slotBytes }) => ({
    kvbm,
    tier: tierNames[tier] ?? '',
    format: layout?.format ?? '',
    blocks: Number(blocks),
    registered: Number(registered),
    free: Number(free),
    slot_bytes: Number(slotBytes),
  }));
}
