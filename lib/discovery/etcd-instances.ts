import type { IKeyValue } from 'etcd3';
import type { Logger } from 'pino';
import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { decodeInstance, instanceIdOf } from './etcd-keys.ts';
import type { RangeSink } from './etcd-watcher.ts';
import type { InstanceTable } from './table.ts';

/** Keeps a table equal to the instances that etcd holds. */
export function instancesInto(table: InstanceTable, log: Logger): RangeSink {
  const decode = (kv: IKeyValue): Instance | undefined => {
    try {
      return decodeInstance(kv.key, kv.value);
    } catch (error) {
      table.metrics.invalidEntries.inc();
      const key = kv.key.toString('utf8');
      log.warn({ err: error, key }, 'discovery entry is not a valid instance and is ignored');
      return undefined;
    }
  };
  const removed = (key: Buffer, reason: 'withdrawn' | 'expired'): void => {
    const instanceId = instanceIdOf(key);
    if (instanceId !== undefined) table.remove(instanceId, reason);
  };
  return {
    replaceAll(kvs) {
      const instances: Instance[] = [];
      for (const kv of kvs) {
        const instance = kv.value.length === 0 ? undefined : decode(kv);
        if (instance !== undefined) instances.push(instance);
      }
      table.replaceAll(instances, 'stale');
    },
    put(kv) {
      if (kv.value.length === 0) return removed(kv.key, 'withdrawn');
      const instance = decode(kv);
      if (instance !== undefined) table.put(instance);
    },
    remove: (key) => removed(key, 'expired'),
  };
}
