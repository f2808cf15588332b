import { expect } from 'chai';
import fc from 'fast-check';
import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { MemoryLinks } from '../testing/memory-link.ts';
import { Recorder } from '../testing/recorder.ts';
import { ScriptRunner, scriptRequest, scriptTokens } from '../testing/script-runner.ts';
import { settle, until } from '../testing/wait.ts';
import { EngineSession, type SequenceRef } from './client.ts';
import { SessionServer } from './server.ts';

type Operation =
  | { readonly kind: 'submit'; readonly length: number }
  | { readonly kind: 'cancel'; readonly which: number }
  | { readonly kind: 'steps'; readonly count: number }
  | { readonly kind: 'settle' }
  /** The connection breaks after so many more messages up and down. */
  | { readonly kind: 'cut'; readonly up: number; readonly down: number };

const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('submit' as const), length: fc.integer({ min: 1, max: 12 }) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('cancel' as const), which: fc.nat(30) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('steps' as const), count: fc.integer({ min: 1, max: 80 }) }) },
  { weight: 2, arbitrary: fc.constant({ kind: 'settle' as const }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('cut' as const), up: fc.nat(4), down: fc.nat(6) }),
  },
);

class World {
  readonly runner = new ScriptRunner();
  readonly sessions = new SessionServer({
    instanceId: 1n,
    runner: this.runner,
    telemetry: quietTelemetry(),
    resumeGraceMs: 600_000,
  });
  readonly links = new MemoryLinks(this.sessions);
  readonly session = new EngineSession({
    target: { address: 'memory' },
    gatewayId: 'test',
    telemetry: quietTelemetry(),
    openLink: this.links.open,
    backoffMinMs: 0,
    backoffMaxMs: 1,
  });
  readonly sequences: { seed: number; length: number; recorder: Recorder; ref: SequenceRef }[] = [];

  async run(next: Operation): Promise<void> {
    switch (next.kind) {
      case 'submit':
        // In a loop, because a cut that is due may break the connection before this continues.
        while (this.session.state !== 'ready') await this.session.ready(AbortSignal.timeout(30_000));
        this.#submit(next.length);
        return;
      case 'cancel': {
        const chosen = this.sequences[next.which % Math.max(1, this.sequences.length)];
        if (chosen !== undefined) this.session.cancel(chosen.ref);
        return;
      }
      case 'steps':
        for (let i = 0; i < next.count; i++) this.step();
        return;
      case 'settle':
        await settle();
        return;
      case 'cut':
        this.links.cutAfter(next.up, next.down);
    }
  }

  step(): void {
    this.runner.step();
    this.sessions.flushStep();
  }

  async finish(): Promise<void> {
    // A connection that swallows messages without breaking is what keepalive is for; here it breaks now.
    this.links.cutAfter(0, 0);
    await until(() => {
      this.step();
      return this.session.inFlight === 0;
    }, 'every sequence ends');
  }

  close(): void {
    this.session.close();
    this.sessions.close();
  }

  #submit(length: number): void {
    const seed = this.sequences.length + 1;
    const recorder = new Recorder();
    const ref = this.session.submit(scriptRequest(seed, length), recorder);
    this.sequences.push({ seed, length, recorder, ref });
  }
}

describe('session resume', () => {
  it('gives each sequence exactly its tokens, whatever connections are cut and when', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { maxLength: 60 }), async (operations) => {
        const world = new World();
        try {
          for (const next of operations) await world.run(next);
          await world.finish();
          for (const { seed, length, recorder } of world.sequences) {
            const [finished] = recorder.finished;
            expect(recorder.lost).to.deep.equal([]);
            expect(recorder.finished.length).to.equal(1);
            expect(recorder.tokens).to.deep.equal(scriptTokens(seed, finished?.usage?.outputTokens ?? -1));
            if (finished?.reason === FinishReason.LENGTH) expect(recorder.tokens.length).to.equal(length);
          }
          expect(world.runner.submitted).to.equal(world.sequences.length);
          expect(world.sessions.running).to.equal(0);
        } finally {
          world.close();
        }
      }),
      { numRuns: 150 },
    );
  });

  it('gives a slot out again only after its terminal entry', async () => {
    const world = new World();
    await world.run({ kind: 'submit', length: 100 });
    await world.run({ kind: 'submit', length: 1 });
    const [long, short] = world.sequences;
    if (long === undefined || short === undefined) throw new Error('not submitted');
    world.session.cancel(long.ref);
    await settle();
    await world.run({ kind: 'submit', length: 1 });
    expect(world.sequences[2]?.ref.slot).to.not.be.oneOf([long.ref.slot, short.ref.slot]);
    await world.finish();
    await world.run({ kind: 'submit', length: 1 });
    expect(world.sequences[3]?.ref.slot).to.be.oneOf([0, 1, 2]);
    world.close();
  });

  it('sends a lost submit and a lost cancel again', async () => {
    const world = new World();
    await world.session.ready(AbortSignal.timeout(30_000));
    world.links.cutAfter(0, 1000);
    await world.run({ kind: 'submit', length: 1000 });
    await settle();
    expect(world.runner.submitted).to.equal(0);
    world.links.cutAfter(0, 0);
    await until(() => world.runner.submitted === 1, 'the submit arrives');
    world.links.cutAfter(0, 1000);
    await world.run({ kind: 'cancel', which: 0 });
    await settle();
    expect(world.runner.cancelled).to.equal(0);
    world.links.cutAfter(0, 0);
    await until(() => world.runner.cancelled === 1, 'the cancel arrives');
    expect(world.links.opened).to.equal(3);
    await world.finish();
    expect(world.sequences[0]?.recorder.finished[0]?.reason).to.equal(FinishReason.CANCELLED);
    world.close();
  });
});
