import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { assert } from 'chai';
import type { Context } from 'mocha';
import { InstanceState, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { Recorder, testInstance, until } from './conformance-support.ts';
import type { Discovery, Watch } from './discovery.ts';

/** A participant whose link to the back end can be cut without the others noticing. */
export interface SeveredDiscovery {
  readonly discovery: Discovery;
  cut(): void;
  heal(): void;
}

/** What a back end offers to its conformance tests. */
export interface DiscoveryUnderTest {
  /** Opens one more participant, as one more process would. The suite closes it. */
  open(namespace: string): Promise<Discovery>;
  /** For participants in processes of their own; undefined where processes cannot meet. */
  readonly url?: string;
  readonly ttlSeconds: number;
  openSevered?(namespace: string): Promise<SeveredDiscovery>;
  dispose(): Promise<void>;
}

const OWNER = fileURLToPath(new URL('./conformance-owner.ts', import.meta.url));

/** What the nature of a back end allows. */
export interface Abilities {
  /** Whether participants can be processes of their own, and so be killed. Default true. */
  readonly processes?: boolean;
  /** Whether one participant can be cut off. Default false. */
  readonly severable?: boolean;
}

/** The behaviour that every discovery back end shares. The factory may skip the suite through its context. */
export function describeDiscovery(
  name: string,
  factory: (context: Context) => Promise<DiscoveryUnderTest>,
  { processes = true, severable = false }: Abilities = {},
): void {
  describe(`discovery: ${name}`, function () {
    this.timeout(60_000);
    let backend: DiscoveryUnderTest;
    let namespace = '';
    let count = 0;
    const opened: Discovery[] = [];
    const children: ChildProcess[] = [];
    const recorders: Recorder[] = [];

    before(async function () {
      backend = await factory(this);
    });
    after(async () => backend?.dispose());
    beforeEach(() => {
      count += 1;
      namespace = `test-${count}`;
    });
    afterEach(async () => {
      for (const child of children.splice(0)) child.kill('SIGKILL');
      for (const discovery of opened.splice(0)) await discovery.close();
      for (const recorder of recorders.splice(0)) assert.deepEqual(recorder.violations, []);
    });

    async function open(space = namespace): Promise<Discovery> {
      const discovery = await backend.open(space);
      opened.push(discovery);
      return discovery;
    }

    function record(discovery: Discovery, kind?: ServiceKind): { recorder: Recorder; watch: Watch } {
      const recorder = new Recorder();
      recorders.push(recorder);
      return { recorder, watch: discovery.watch(kind, recorder) };
    }

    async function startOwner(mode: 'hold' | 'leave', instanceId: bigint): Promise<ChildProcess> {
      const flags = ['--conditions=source', '--no-warnings', OWNER, mode];
      const rest = [backend.url ?? '', namespace, String(backend.ttlSeconds), String(instanceId)];
      const child = spawn(process.execPath, [...flags, ...rest], { stdio: ['pipe', 'pipe', 'inherit'] });
      children.push(child);
      const [line] = await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
      assert.equal(String(line), 'registered\n');
      return child;
    }

    function sees(recorder: Recorder, ...events: string[]): Promise<unknown> {
      return until(`events ${events.join(', ')}`, () => {
        if (recorder.events.length < events.length) return false;
        assert.deepEqual(recorder.events, events);
        return true;
      });
    }

    it('reports registration, updates and withdrawal in order', async () => {
      const owner = await open();
      const { recorder, watch } = record(await open());
      await watch.synced;
      const registration = await owner.register(testInstance(1n));
      await sees(recorder, 'up 1');
      await registration.update(testInstance(1n, { state: InstanceState.DRAINING }));
      await sees(recorder, 'up 1', 'change 1 DRAINING');
      await registration.update(testInstance(1n, { state: InstanceState.READY }));
      await sees(recorder, 'up 1', 'change 1 DRAINING', 'change 1 READY');
      await registration.withdraw();
      await sees(recorder, 'up 1', 'change 1 DRAINING', 'change 1 READY', 'down 1 withdrawn');
      assert.equal(watch.instances().size, 0);
    });

    it('hands out what was registered, every field of it', async () => {
      const owner = await open();
      const { recorder, watch } = record(await open());
      const instance = testInstance(0xffff_ffff_ffff_fffen, { name: 'näme "quoted"\n' });
      instance.topology = { zone: 'a', rack: '7/3' };
      instance.startedUnixMs = 1_700_000_000_123n;
      await owner.register(instance);
      await sees(recorder, `up ${instance.instanceId}`);
      assert.deepEqual(watch.instances().get(instance.instanceId), { ...instance, namespace });
    });

    it('keeps its own copy of what the owner registers', async () => {
      const owner = await open();
      const { recorder, watch } = record(await open());
      const instance = testInstance(1n);
      await owner.register(instance);
      instance.address = 'changed:1';
      await sees(recorder, 'up 1');
      assert.notEqual(watch.instances().get(1n)?.address, 'changed:1');
    });

    it('reports the snapshot before it is synced, and later changes after', async () => {
      const owner = await open();
      for (const id of [1n, 2n, 3n]) await owner.register(testInstance(id));
      const { recorder, watch } = record(await open());
      assert.deepEqual(recorder.events, [], 'no callback inside watch()');
      await watch.synced;
      assert.sameMembers(recorder.events, ['up 1', 'up 2', 'up 3']);
      await owner.register(testInstance(4n));
      await until('the fourth', () => recorder.up.size === 4);
      assert.equal(recorder.events.at(-1), 'up 4');
    });

    it('is synced with nothing where nothing is registered', async () => {
      const discovery = await open();
      const { recorder, watch } = record(discovery);
      await watch.synced;
      assert.deepEqual(recorder.events, []);
      await until('connected', () => discovery.connected);
    });

    it('serves two watchers in one process and a third in another', async () => {
      const owner = await open();
      const shared = await open();
      const views = [record(shared), record(shared), record(await open())];
      const registration = await owner.register(testInstance(1n));
      for (const { recorder } of views) await sees(recorder, 'up 1');
      views[0]?.watch.close();
      await registration.withdraw();
      for (const { recorder } of views.slice(1)) await sees(recorder, 'up 1', 'down 1 withdrawn');
      assert.deepEqual(views[0]?.recorder.events, ['up 1'], 'a closed watch hears nothing');
    });

    it('shows an owner its own instance', async () => {
      const owner = await open();
      const { recorder } = record(owner);
      await owner.register(testInstance(1n));
      await sees(recorder, 'up 1');
    });

    it('filters by kind', async () => {
      const owner = await open();
      const discovery = await open();
      const workers = record(discovery, ServiceKind.WORKER);
      const everything = record(discovery);
      const router = await owner.register(testInstance(1n, { kind: ServiceKind.ROUTER }));
      await owner.register(testInstance(2n, { kind: ServiceKind.WORKER }));
      await until('both up', () => everything.recorder.up.size === 2);
      await router.withdraw();
      await until('one down', () => everything.recorder.up.size === 1);
      await sees(workers.recorder, 'up 2');
    });

    it('keeps namespaces apart', async () => {
      const here = await open(`${namespace}.a`);
      const there = await open(`${namespace}.b`);
      const { recorder, watch } = record(here);
      await there.register(testInstance(1n));
      await here.register(testInstance(2n));
      await sees(recorder, 'up 2');
      await there.close();
      await watch.synced;
      assert.deepEqual(recorder.events, ['up 2']);
    });

    it('refuses incomplete instances, and a second registration of one id', async () => {
      const owner = await open();
      await rejects(owner.register(testInstance(0n)), 'invalid_argument', 'instance_id');
      await rejects(owner.register(testInstance(1n, { kind: ServiceKind.UNSPECIFIED })), 'invalid_argument', 'kind');
      const registration = await owner.register(testInstance(1n));
      await rejects(owner.register(testInstance(1n)), 'conflict');
      await rejects(registration.update(testInstance(2n)), 'invalid_argument', 'instance_id');
      await registration.withdraw();
      await registration.withdraw();
      await rejects(registration.update(testInstance(1n)), 'cancelled');
      await owner.register(testInstance(1n));
    });

    it('survives callbacks that throw', async () => {
      const owner = await open();
      const discovery = await open();
      const fail = () => {
        throw new Error('from a callback');
      };
      discovery.watch(undefined, { onUp: fail, onChange: fail, onDown: fail });
      const { recorder } = record(discovery);
      const registration = await owner.register(testInstance(1n));
      await sees(recorder, 'up 1');
      await registration.update(testInstance(1n, { state: InstanceState.ASLEEP }));
      await sees(recorder, 'up 1', 'change 1 ASLEEP');
      await registration.withdraw();
      await sees(recorder, 'up 1', 'change 1 ASLEEP', 'down 1 withdrawn');
    });

    it('carries 500 instances', async () => {
      const owner = await open();
      const ids = Array.from({ length: 500 }, (_, index) => BigInt(index + 1));
      const early = record(await open());
      await early.watch.synced;
      const registrations = await Promise.all(ids.map((id) => owner.register(testInstance(id))));
      await until('500 up for the early watcher', () => early.recorder.up.size === 500);
      const late = record(await open());
      await late.watch.synced;
      assert.equal(late.recorder.up.size, 500);
      await Promise.all(registrations.map((registration) => registration.withdraw()));
      await until('all down', () => early.recorder.up.size === 0 && late.recorder.up.size === 0, 30_000);
      assert.equal(early.recorder.events.filter((event) => event.endsWith('withdrawn')).length, 500);
    });

    it('withdraws on close, and then does nothing more', async () => {
      const owner = await open();
      const own = record(owner);
      const { recorder } = record(await open());
      await owner.register(testInstance(1n));
      await sees(recorder, 'up 1');
      await own.watch.synced;
      await owner.close();
      const heard = [...own.recorder.events];
      await owner.close();
      await sees(recorder, 'up 1', 'down 1 withdrawn');
      assert.deepEqual(own.recorder.events, heard);
      await rejects(owner.register(testInstance(2n)), 'cancelled');
      assert.throws(() => owner.watch(undefined), StatorError);
    });

    it('rejects `synced` when closed before the snapshot', async () => {
      const discovery = await open();
      const { watch } = record(discovery);
      watch.close();
      await rejects(watch.synced, 'cancelled');
    });

    if (processes) {
      it('keeps an instance up for longer than its TTL while its owner lives', async () => {
        const { recorder, watch } = record(await open());
        await startOwner('hold', 1n);
        await sees(recorder, 'up 1');
        await sleep(backend.ttlSeconds * 2000);
        await watch.synced;
        assert.deepEqual(recorder.events, ['up 1']);
      });

      it('reports a killed owner down after its TTL', async () => {
        const { recorder } = record(await open());
        const child = await startOwner('hold', 1n);
        await sees(recorder, 'up 1');
        child.kill('SIGKILL');
        await sees(recorder, 'up 1', 'down 1 expired');
      });

      it('brings back an owner that was stopped for longer than its TTL', async () => {
        const { recorder } = record(await open());
        const child = await startOwner('hold', 1n);
        await sees(recorder, 'up 1');
        child.kill('SIGSTOP');
        await sees(recorder, 'up 1', 'down 1 expired');
        child.kill('SIGCONT');
        await sees(recorder, 'up 1', 'down 1 expired', 'up 1');
      });

      it('leaves nothing behind that keeps a process alive', async () => {
        const { recorder } = record(await open());
        const child = await startOwner('leave', 1n);
        await sees(recorder, 'up 1');
        child.stdin?.end();
        const [code] = await once(child, 'exit');
        assert.equal(code, 0);
        await sees(recorder, 'up 1', 'down 1 withdrawn');
      });
    }

    if (severable) {
      it('catches up with what happened while it was cut off', async () => {
        if (backend.openSevered === undefined) throw new Error('the back end does not offer openSevered');
        const owner = await open();
        const severed = await backend.openSevered(namespace);
        opened.push(severed.discovery);
        const { recorder, watch } = record(severed.discovery);
        await watch.synced;
        const first = await owner.register(testInstance(1n));
        const second = await owner.register(testInstance(2n));
        await until('two up', () => recorder.up.size === 2);
        severed.cut();
        await first.update(testInstance(1n, { state: InstanceState.DRAINING }));
        await second.withdraw();
        await owner.register(testInstance(3n));
        severed.heal();
        await until(
          'the truth',
          () => recorder.up.has(3n) && !recorder.up.has(2n) && recorder.up.get(1n)?.state === InstanceState.DRAINING,
        );
        assert.sameMembers(recorder.events.slice(2), ['change 1 DRAINING', 'down 2 stale', 'up 3']);
      });
    }
  });
}

async function rejects(promise: Promise<unknown>, code: string, field?: string): Promise<void> {
  const error = await promise.then(
    () => assert.fail(`expected ${code}`),
    (thrown: unknown) => thrown,
  );
  assert.instanceOf(error, StatorError);
  assert.equal(error.code, code);
  if (field !== undefined) assert.equal(error.field, field);
}
