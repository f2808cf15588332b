import { setTimeout as sleep } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { type Instance, InstanceSchema, InstanceState, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { DownReason, InstanceListener } from './discovery.ts';

/** Remembers what a watch reports, and what it must never report. */
export class Recorder implements InstanceListener {
  /** For example `up 1`, `change 1 DRAINING`, `down 1 withdrawn`. */
  readonly events: string[] = [];
  readonly up = new Map<bigint, Instance>();
  /** Broken promises of the watch; empty in a good run. */
  readonly violations: string[] = [];

  onUp(instance: Instance): void {
    if (this.up.has(instance.instanceId)) this.violations.push(`up twice: ${instance.instanceId}`);
    this.up.set(instance.instanceId, instance);
    this.events.push(`up ${instance.instanceId}`);
  }

  onChange(instance: Instance, before: Instance): void {
    if (this.up.get(instance.instanceId) !== before)
      this.violations.push(`change of another form: ${instance.instanceId}`);
    this.up.set(instance.instanceId, instance);
    this.events.push(`change ${instance.instanceId} ${stateName(instance)}`);
  }

  onDown(instance: Instance, reason: DownReason): void {
    if (!this.up.delete(instance.instanceId)) this.violations.push(`down without up: ${instance.instanceId}`);
    this.events.push(`down ${instance.instanceId} ${reason}`);
  }
}

function stateName(instance: Instance): string {
  return Object.entries(InstanceState).find(([, value]) => value === instance.state)?.[0] ?? String(instance.state);
}

/** An instance that may register: a worker unless stated otherwise. */
export function testInstance(
  instanceId: bigint,
  fields: { kind?: ServiceKind; state?: InstanceState; name?: string } = {},
): Instance {
  return create(InstanceSchema, {
    instanceId,
    kind: ServiceKind.WORKER,
    address: `127.0.0.1:${10_000 + Number(instanceId % 50_000n)}`,
    state: InstanceState.READY,
    ...fields,
  });
}

/** Waits until the condition returns other than false; what it threw last is the cause of the timeout. */
export async function until(what: string, condition: () => unknown, timeoutMs = 20_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  let cause: unknown;
  while (performance.now() < deadline) {
    try {
      if ((await condition()) !== false) return;
    } catch (error) {
      cause = error;
    }
    await sleep(10);
  }
  throw new Error(`not within ${timeoutMs} ms: ${what}`, { cause });
}
