import { mkdir, mkdtemp, readdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { toJsonString } from '@bufbuild/protobuf';
import { assert } from 'chai';
import { type Instance, InstanceSchema, InstanceState } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { describeDiscovery } from './conformance.ts';
import { Recorder, testInstance, until } from './conformance-support.ts';
import { FileDiscovery, type FileDiscoveryOptions } from './file.ts';
import { entryName, writeEntry } from './file-entry.ts';

for (const notices of [true, false]) {
  describeDiscovery(notices ? 'file' : 'file, polling only', async () => {
    const directory = await mkdtemp(path.join(tmpdir(), 'stator-discovery-'));
    // An owner on a busy machine beats within it.
    const ttlSeconds = 2.5;
    return {
      open: async (namespace) =>
        new FileDiscovery(directory, { namespace, ttlSeconds, telemetry: quietTelemetry(), notices, pollMs: 100 }),
      url: `file:${directory}`,
      ttlSeconds,
      dispose: () => rm(directory, { recursive: true, force: true }),
    };
  });
}

describe('file discovery', () => {
  // Long enough that nothing which a test writes is old before it is seen.
  const ttlSeconds = 3;
  /** For tests that wait for the end of it. */
  const brief = { ttlSeconds: 1 };
  const briefMs = brief.ttlSeconds * 1000;
  let root: string;
  let folder: string;
  const opened: FileDiscovery[] = [];

  beforeEach(async () => {
    root = await mkdtemp(path.join(tmpdir(), 'stator-discovery-'));
    folder = path.join(root, 'test');
  });
  afterEach(async () => {
    for (const discovery of opened.splice(0)) await discovery.close();
    await rm(root, { recursive: true, force: true });
  });

  function open(o: Partial<FileDiscoveryOptions> = {}): { discovery: FileDiscovery; telemetry: Telemetry } {
    const telemetry = quietTelemetry();
    const discovery = new FileDiscovery(root, { namespace: 'test', ttlSeconds, telemetry, pollMs: 50, ...o });
    opened.push(discovery);
    return { discovery, telemetry };
  }

  async function follow(o: Partial<FileDiscoveryOptions> = {}): Promise<{ recorder: Recorder; telemetry: Telemetry }> {
    const { discovery, telemetry } = open(o);
    const recorder = new Recorder();
    await discovery.watch(undefined, recorder).synced;
    return { recorder, telemetry };
  }

  it('lets only its own user read and write', async () => {
    await open().discovery.register(testInstance(1n));
    assert.equal((await stat(folder)).mode & 0o777, 0o700);
    assert.equal((await stat(path.join(folder, entryName(testInstance(1n))))).mode & 0o777, 0o600);
    assert.deepEqual(await readdir(folder), ['worker-0000000000000001.json'], 'no temporary file stays');
  });

  it('ignores entries that are not whole, counts them, and takes them once they are', async () => {
    const { recorder, telemetry } = await follow();
    const text = toJsonString(InstanceSchema, own(1n));
    const file = path.join(folder, entryName(testInstance(1n)));
    await writeFile(file, text.slice(0, text.length / 2));
    await writeFile(path.join(folder, entryName(testInstance(2n))), '\0\0\0');
    await writeFile(path.join(folder, entryName(testInstance(3n))), '');
    await until('counted', async () => (await metric(telemetry, 'stator_discovery_invalid_entries_total')) >= 3);
    assert.deepEqual(recorder.events, []);
    await writeFile(file, text);
    await until('up', () => recorder.up.size === 1);
  });

  it('keeps what it knew of an instance whose entry turns unreadable', async () => {
    const { recorder, telemetry } = await follow();
    await writeEntry(folder, own(1n));
    await until('up', () => recorder.up.size === 1);
    await writeFile(path.join(folder, entryName(own(1n))), '{"instanceId": ');
    await until('counted', async () => (await metric(telemetry, 'stator_discovery_invalid_entries_total')) > 0);
    assert.deepEqual(recorder.events, ['up 1']);
  });

  it('ignores other files, and entries that are not what their name or folder promises', async () => {
    const { recorder, telemetry } = await follow();
    await writeFile(path.join(folder, 'notes.txt'), 'x');
    await mkdir(path.join(folder, 'worker-00000000000000ff.json'));
    await writeFile(path.join(folder, entryName(own(1n))), toJsonString(InstanceSchema, own(2n)));
    const foreign = own(3n);
    foreign.namespace = 'elsewhere';
    await writeFile(path.join(folder, entryName(foreign)), toJsonString(InstanceSchema, foreign));
    await writeEntry(folder, own(4n));
    await until('up', () => recorder.up.size === 1);
    assert.deepEqual(recorder.events, ['up 4']);
    assert.isAtLeast(await metric(telemetry, 'stator_discovery_invalid_entries_total'), 2);
  });

  it('reads entries of newer releases', async () => {
    const { recorder } = await follow();
    const entry = { ...JSON.parse(toJsonString(InstanceSchema, own(1n))), addedLater: { x: 1 } };
    await writeFile(path.join(folder, entryName(own(1n))), JSON.stringify(entry));
    await until('up', () => recorder.up.size === 1);
  });

  it('believes heartbeats, whatever time of day they claim', async () => {
    const { recorder } = await follow(brief);
    await writeEntry(folder, own(1n));
    await until('up', () => recorder.up.size === 1);
    for (let beat = 0; beat < 14; beat += 1) {
      const jumping = new Date(Date.now() + (beat % 2 === 0 ? -1 : 1) * 3_600_000 + beat);
      await utimes(path.join(folder, entryName(own(1n))), jumping, jumping);
      await sleep(briefMs / 6);
    }
    assert.deepEqual(recorder.events, ['up 1']);
    await until('expired', () => recorder.events.at(-1) === 'down 1 expired');
  });

  it('does not take the leavings of a dead process for an instance', async () => {
    await writeEntry(folder, own(1n));
    await writeEntry(folder, own(2n));
    const hourAgo = new Date(Date.now() - 3_600_000);
    await utimes(path.join(folder, entryName(own(1n))), hourAgo, hourAgo);
    const { recorder } = await follow();
    assert.deepEqual(recorder.events, ['up 2']);
    const later = new Date(hourAgo.getTime() + 1000);
    await utimes(path.join(folder, entryName(own(1n))), later, later);
    await until('up after its heartbeat', () => recorder.up.has(1n));
  });

  it('removes the leavings of dead processes', async () => {
    await writeEntry(folder, own(1n));
    await writeFile(path.join(folder, '.worker-0000000000000001.0a0b0c0d.tmp'), 'half');
    await writeFile(path.join(folder, 'notes.txt'), 'x');
    const { recorder } = await follow({ ...brief, removeAfterMs: 2 * briefMs });
    await until('removed', async () => (await readdir(folder)).length === 1);
    assert.deepEqual(await readdir(folder), ['notes.txt']);
    assert.deepEqual(recorder.events, ['up 1', 'down 1 expired']);
  });

  it('writes its entry again when somebody removed it', async () => {
    const { recorder } = await follow();
    const { discovery, telemetry } = open();
    await discovery.register(testInstance(1n, { state: InstanceState.ASLEEP }));
    await until('up', () => recorder.up.size === 1);
    await rm(folder, { recursive: true });
    await until('up again', () => recorder.events.filter((event) => event === 'up 1').length === 2);
    assert.equal(recorder.up.get(1n)?.state, InstanceState.ASLEEP);
    assert.isAtLeast(await metric(telemetry, 'stator_discovery_lease_losses_total'), 1);
  });

  it('keeps its view when the folder cannot be read, for as long as the TTL', async () => {
    const { recorder, telemetry } = await follow(brief);
    await writeEntry(folder, own(1n));
    await until('up', () => recorder.up.size === 1);
    await rename(folder, `${folder}.away`);
    await writeFile(folder, 'a file where the folder was');
    await until('noticed', async () => (await metric(telemetry, 'stator_discovery_connected')) === 0);
    await until('down in the end', () => recorder.up.size === 0);
    await rm(folder);
    await rename(`${folder}.away`, folder);
    await writeEntry(folder, own(1n));
    await until('up again', () => recorder.up.size === 1);
    assert.equal(await metric(telemetry, 'stator_discovery_connected'), 1);
    assert.deepEqual(recorder.violations, []);
  });

  it('does not blame others for the time that it was itself stopped', async () => {
    const { recorder } = await follow(brief);
    await writeEntry(folder, own(1n));
    await until('up', () => recorder.up.size === 1);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2 * briefMs);
    await sleep(50);
    assert.deepEqual(recorder.events, ['up 1']);
  });

  it('refuses namespaces that would leave the folder', () => {
    for (const namespace of ['..', '', 'a/b', '.hidden', 'x'.repeat(64)]) {
      assert.throws(() => open({ namespace }), /namespace/);
    }
  });

  it('writes an update later that it could not write at once', async () => {
    const { recorder } = await follow();
    const { discovery } = open();
    const registration = await discovery.register(testInstance(1n));
    await until('up', () => recorder.up.size === 1);
    await rename(folder, `${folder}.away`);
    await writeFile(folder, 'a file where the folder was');
    const failure = await registration
      .update(testInstance(1n, { state: InstanceState.DRAINING }))
      .catch((error: unknown) => error);
    assert.instanceOf(failure, StatorError);
    await rm(folder);
    await rename(`${folder}.away`, folder);
    await until('the update', () => recorder.up.get(1n)?.state === InstanceState.DRAINING);
  });

  it('withdraws a registration that was under way when it was closed', async () => {
    const { discovery } = open();
    const outcome = discovery.register(testInstance(1n)).then(
      () => 'registered',
      () => 'refused',
    );
    await sleep(0);
    await discovery.close();
    assert.oneOf(await outcome, ['registered', 'refused']);
    assert.deepEqual(await readdir(folder), []);
  });

  it('says why it cannot register', async () => {
    await writeFile(folder, 'a file where the folder should be');
    const { discovery } = open();
    const error = await discovery.register(testInstance(1n)).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    assert.instanceOf(error, StatorError);
    assert.include(error.message, 'cannot be written');
    await rm(folder);
    await discovery.register(testInstance(1n));
  });
});

function own(instanceId: bigint): Instance {
  const instance = testInstance(instanceId);
  instance.namespace = 'test';
  return instance;
}

async function metric(telemetry: Telemetry, name: string): Promise<number> {
  const found = await telemetry.metrics.getSingleMetric(name)?.get();
  return found?.values[0]?.value ?? Number.NaN;
}
