import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { create } from '@bufbuild/protobuf';
import {
  type Instance,
  InstanceSchema,
  InstanceState,
  type ServiceKind,
} from '#gen/stator/discovery/v1/discovery_pb.ts';
import { packageVersion } from '#lib/config/package.ts';

export interface InstanceOptions {
  readonly instanceId: bigint;
  readonly kind: ServiceKind;
  /** host:port, as others reach it. */
  readonly address: string;
  readonly tls: boolean;
  /** Default: ready. */
  readonly state?: InstanceState;
  readonly name?: string;
}

/** What this process says of itself to the others. */
export function describeInstance(options: InstanceOptions): Instance {
  return create(InstanceSchema, {
    state: InstanceState.READY,
    ...options,
    startedUnixMs: BigInt(Date.now()),
    version: packageVersion(),
    host: hostname(),
    bootId: bootId(),
  });
}

/** Identifier of the machine's boot: equal for processes that share memory. Empty where the system has none. */
function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
}
