import type { Instance, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { Discovery, InstanceListener, Registration, Watch } from './discovery.ts';
import { InstanceTable } from './table.ts';
import { alreadyRegistered, checkNamespace, discoveryClosed, prepareInstance, prepareUpdate } from './validate.ts';

/** What the processes of one test or of one all-in-one process share: the instances of one namespace. */
class MemorySpace {
  readonly #instances = new Map<bigint, Instance>();
  readonly #tables = new Set<InstanceTable>();

  has(instanceId: bigint): boolean {
    return this.#instances.has(instanceId);
  }

  attach(table: InstanceTable): void {
    this.#tables.add(table);
    table.replaceAll(this.#instances.values(), 'withdrawn');
  }

  detach(table: InstanceTable): void {
    this.#tables.delete(table);
  }

  // Changes arrive in a later microtask, as they do from every other back end: never inside the owner's own call.
  put(instance: Instance): void {
    this.#instances.set(instance.instanceId, instance);
    for (const table of this.#tables) queueMicrotask(() => table.put(instance));
  }

  remove(instanceId: bigint): void {
    this.#instances.delete(instanceId);
    for (const table of this.#tables) queueMicrotask(() => table.remove(instanceId, 'withdrawn'));
  }
}

/** The meeting point of several memory discoveries; each hub is a world of its own. */
export class MemoryHub {
  readonly #spaces = new Map<string, MemorySpace>();

  space(namespace: string): MemorySpace {
    const known = this.#spaces.get(namespace);
    if (known !== undefined) return known;
    const space = new MemorySpace();
    this.#spaces.set(namespace, space);
    return space;
  }
}

const namedHubs = new Map<string, MemoryHub>();

/** The hub of `memory:NAME`: one for each name in a process. */
export function memoryHub(name: string): MemoryHub {
  const known = namedHubs.get(name);
  if (known !== undefined) return known;
  const hub = new MemoryHub();
  namedHubs.set(name, hub);
  return hub;
}

/** Discovery among parts of one process: nothing expires, because owner and observer die together. */
export class MemoryDiscovery implements Discovery {
  readonly #space: MemorySpace;
  readonly #namespace: string;
  readonly #table: InstanceTable;
  readonly #registered = new Map<bigint, Instance>();
  #closed = false;

  constructor(hub: MemoryHub, o: { namespace: string; telemetry: Telemetry }) {
    this.#namespace = checkNamespace(o.namespace);
    this.#space = hub.space(this.#namespace);
    this.#table = new InstanceTable(o.telemetry);
    this.#space.attach(this.#table);
    this.#table.metrics.connected.set(true);
  }

  get connected(): boolean {
    return this.#table.metrics.connected.value;
  }

  async register(instance: Instance): Promise<Registration> {
    if (this.#closed) throw discoveryClosed();
    const prepared = prepareInstance(instance, this.#namespace);
    if (this.#space.has(prepared.instanceId)) throw alreadyRegistered(prepared);
    this.#set(prepared);
    return {
      update: async (next) => {
        const current = this.#registered.get(prepared.instanceId);
        if (current === undefined) throw discoveryClosed();
        this.#set(prepareUpdate(next, current));
      },
      withdraw: async () => this.#withdraw(prepared.instanceId),
    };
  }

  watch(kind: ServiceKind | undefined, listener: Partial<InstanceListener> = {}): Watch {
    return this.#table.watch(kind, listener);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const instanceId of [...this.#registered.keys()]) this.#withdraw(instanceId);
    this.#space.detach(this.#table);
    this.#table.close();
  }

  #set(instance: Instance): void {
    this.#registered.set(instance.instanceId, instance);
    this.#space.put(instance);
  }

  #withdraw(instanceId: bigint): void {
    if (this.#registered.delete(instanceId)) this.#space.remove(instanceId);
  }
}
