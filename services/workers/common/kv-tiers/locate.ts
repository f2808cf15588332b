import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { Discovery } from '#lib/discovery/discovery.ts';
import { describeInstance } from '#lib/service/instance.ts';
import { type SecurityConfig, targetOf } from '#lib/service/security.ts';
import type { KvbmLocator } from './kvbm-client.ts';

/** The block manager at an address. */
export function fixedKvbm(address: string, config: SecurityConfig): KvbmLocator {
  const target = targetOf({ address, tls: config.tlsCert !== undefined }, config);
  return { targets: () => [target], onChange: () => {} };
}

/** Block managers of this machine that discovery shows, the newest first: one that died is shown for a while beside its successor. */
export function discoveredKvbm(discovery: Discovery, config: SecurityConfig): KvbmLocator {
  const { bootId, host } = describeInstance({ instanceId: 0n, kind: ServiceKind.WORKER, address: '', tls: false });
  const isHere = (instance: Instance): boolean =>
    bootId !== '' && instance.bootId !== '' ? instance.bootId === bootId : instance.host === host;
  const listeners = new Set<() => void>();
  const tell = (): void => {
    for (const listener of listeners) listener();
  };
  let watch: ReturnType<Discovery['watch']> | undefined;
  return {
    targets() {
      const here = [...(watch?.instances().values() ?? [])].filter(isHere);
      const newestFirst = here.toSorted((a, b) => Number(b.startedUnixMs - a.startedUnixMs));
      return newestFirst.map((instance) => targetOf(instance, config));
    },
    onChange(listener, signal) {
      watch ??= discovery.watch(ServiceKind.KVBM, { onUp: tell, onChange: tell, onDown: tell });
      // It ends before it is synced when the worker stops early.
      watch.synced.then(tell, () => {});
      listeners.add(listener);
      const leave = (): void => {
        listeners.delete(listener);
        if (listeners.size > 0) return;
        watch?.close();
        watch = undefined;
      };
      signal.addEventListener('abort', leave, { once: true });
    },
  };
}
