import type { Instance, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { Discovery, InstanceListener, Registration, Watch } from '#lib/discovery/discovery.ts';
import { StatorError } from '#lib/errors/errors.ts';

/** Discovery whose instances come when the simulation says so, at once, and stay. */
export class SimDiscovery implements Discovery {
  readonly connected = true;
  readonly #instances = new Map<bigint, Instance>();
  readonly #listeners = new Set<Partial<InstanceListener>>();

  up(instance: Instance): void {
    this.#instances.set(instance.instanceId, instance);
    for (const listener of this.#listeners) listener.onUp?.(instance);
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
