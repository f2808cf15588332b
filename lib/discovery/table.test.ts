import { assert } from 'chai';
import { InstanceState, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { Recorder, testInstance } from './conformance-support.ts';
import { InstanceTable } from './table.ts';

describe('instance table', () => {
  function tableWith(...ids: bigint[]): { table: InstanceTable; telemetry: ReturnType<typeof quietTelemetry> } {
    const telemetry = quietTelemetry();
    const table = new InstanceTable(telemetry);
    table.replaceAll(
      ids.map((id) => testInstance(id)),
      'stale',
    );
    return { table, telemetry };
  }

  async function follow(table: InstanceTable, kind?: ServiceKind): Promise<Recorder> {
    const recorder = new Recorder();
    await table.watch(kind, recorder).synced;
    return recorder;
  }

  it('reports nothing for a form that it knows', async () => {
    const { table } = tableWith(1n);
    const recorder = await follow(table);
    table.put(testInstance(1n));
    assert.deepEqual(recorder.events, ['up 1']);
  });

  it('turns a listing into the differences', async () => {
    const { table } = tableWith(1n, 2n);
    const recorder = await follow(table);
    table.replaceAll([testInstance(2n, { state: InstanceState.DRAINING }), testInstance(3n)], 'stale');
    assert.sameMembers(recorder.events.slice(2), ['down 1 stale', 'change 2 DRAINING', 'up 3']);
    assert.deepEqual(recorder.violations, []);
  });

  it('holds watches back until the first listing', async () => {
    const table = new InstanceTable(quietTelemetry());
    const recorder = new Recorder();
    const watch = table.watch(undefined, recorder);
    table.put(testInstance(1n));
    await Promise.resolve();
    assert.deepEqual(recorder.events, []);
    table.markSynced();
    await watch.synced;
    assert.deepEqual(recorder.events, ['up 1']);
  });

  it('keeps one order for all watches, also when a callback changes the table', async () => {
    const { table } = tableWith();
    const orders: string[][] = [[], []];
    for (const order of orders) {
      await table.watch(undefined, {
        onUp: (instance) => {
          order.push(`up ${instance.instanceId}`);
          if (instance.instanceId < 4n) table.put(testInstance(instance.instanceId + 1n));
        },
      }).synced;
    }
    table.put(testInstance(1n));
    assert.deepEqual(orders[0], ['up 1', 'up 2', 'up 3', 'up 4']);
    assert.deepEqual(orders[1], orders[0]);
  });

  it('lets a callback close its own watch and open another', async () => {
    const { table } = tableWith();
    const heard: string[] = [];
    const watch = table.watch(undefined, {
      onUp: () => {
        heard.push('first');
        watch.close();
        table.watch(undefined, { onUp: (instance) => heard.push(`second ${instance.instanceId}`) });
      },
    });
    await watch.synced;
    table.put(testInstance(1n));
    table.put(testInstance(2n));
    await Promise.resolve();
    assert.sameMembers(heard, ['first', 'second 1', 'second 2']);
  });

  it('counts what is up by kind, and the events by type', async () => {
    const { table, telemetry } = tableWith(1n, 2n);
    table.put(testInstance(3n, { kind: ServiceKind.ROUTER }));
    table.put(testInstance(3n, { kind: ServiceKind.ROUTER, state: InstanceState.DRAINING }));
    table.remove(1n, 'expired');
    table.remove(1n, 'expired');
    const text = await telemetry.metrics.metrics();
    assert.include(text, 'stator_discovery_instances{kind="worker"} 1');
    assert.include(text, 'stator_discovery_instances{kind="router"} 1');
    assert.include(text, 'stator_discovery_events_total{type="up"} 3');
    assert.include(text, 'stator_discovery_events_total{type="change"} 1');
    assert.include(text, 'stator_discovery_events_total{type="down"} 1');
    table.close();
    assert.include(await telemetry.metrics.metrics(), 'stator_discovery_instances{kind="worker"} 0');
  });

  it('counts callbacks that throw', async () => {
    const { table, telemetry } = tableWith(1n);
    await table.watch(undefined, {
      onUp: () => {
        throw new Error('from a callback');
      },
    }).synced;
    assert.include(await telemetry.metrics.metrics(), 'stator_discovery_listener_errors_total 1');
  });
});
