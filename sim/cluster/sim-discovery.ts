import type { Instance, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { Discovery, InstanceListener, Registration, Watch } from '#lib/discovery/discovery.ts';
import { StatorError } from '#lib/errors/errors.ts';

/** Discovery for one watcher: instances come and go when the simulation says so, at once. */
export class SimDiscovery implements Discovery {
  readonly connected = true;
  readonly #instances = new Map<bigint, Instance>();
  readonly #listeners = new Set<Partial<InstanceListener>>();

  up(instance: Instance): void {
    this.#instances.set(instance.instanceId, instance);
    for (const listener of this.#listeners) listener.onUp?.(instance);
  }

  /** It withdraws. */
  down(instanceId: bigint): void {
    const instance = this.#instances.get(instanceId);
    if (instance === undefined) return;
    this.#instances.delete(instanceId);
    for (const listener of this.#listeners) listener.onDown?.(instance, 'withdrawn');
  }

  /** The simulation registers by `up`. */
  register(): Promise<Registration> {
    return Promise.reject(new StatorError('internal', 'Nothing registers itself in a simulation.'));
  }

  watch(_kind: ServiceKind | undefined, listener: Partial<InstanceListener> = {}): Watch {
    this.#listeners.add(listener);
    return {
      synced: Promise.resolve(),
      instances: () => this.#instances,
      close: () => this.#listeners.delete(listener),
    };
  }

  async close(): Promise<void> {
    this.#listeners.clear();
  }
}
