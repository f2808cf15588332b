import { expect } from 'chai';
import fc from 'fast-check';
import { StatorError } from '#lib/errors/errors.ts';
import { chunksOf, contentOf } from './testing/answers.ts';
import { decodeBytes, encodeBytes } from './testing/byte-tokenizer.ts';
import { startHarness } from './testing/harness.ts';
import { type ScriptedSequence, ScriptedWorker } from './testing/scripted-worker.ts';

const chat = { model: 'test-model', messages: [{ role: 'user', content: 'Hi' }], stream: true };
const prompt = encodeBytes('<user>Hi');
const story = 'Zażółć gęślą jaźń — the quick brown 🦊 jumps; "quoted"\n\tand more STOP never seen';

/** Continues the story after whatever the request has of it already, for this many tokens, then does as told. */
function continuing(tokens: number, then: (sequence: ScriptedSequence) => void): (sequence: ScriptedSequence) => void {
  return (sequence) => {
    const output = sequence.request.tokenIds.slice(prompt.length);
    const rest = encodeBytes(story).slice(output.length);
    sequence.prefilled();
    for (const id of rest.slice(0, tokens)) {
      if (sequence.cancelled) return;
      sequence.tokens([id]);
    }
    if (!sequence.cancelled) then(sequence);
  };
}

describe('migration', () => {
  it('goes on elsewhere without losing or doubling a byte, wherever the worker is lost', async () => {
    const total = encodeBytes(story).length;
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: total }), { minLength: 1, maxLength: 3 }), async (losses) => {
        await using gateway = await startHarness();
        let attempt = 0;
        const script = (sequence: ScriptedSequence): void => {
          const loseAfter = losses[attempt++];
          if (loseAfter === undefined) continuing(total, (last) => last.finish())(sequence);
          else continuing(loseAfter, (lost) => lost.lose())(sequence);
        };
        const workers = [1n, 2n, 3n, 4n].map((instanceId) => {
          const worker = new ScriptedWorker(script);
          gateway.addWorker(instanceId, worker);
          return worker;
        });
        const chunks = await chunksOf(await gateway.post('/v1/chat/completions', { ...chat, stop: 'STOP' }));
        expect(contentOf(chunks, 0)).to.equal(story.slice(0, story.indexOf('STOP')));
        for (const worker of workers) expect(worker.running.size).to.equal(0);
      }),
      { numRuns: 40 },
    );
  });

  it('replays the prompt with what was delivered, for the tokens still wanted, elsewhere', async () => {
    await using gateway = await startHarness();
    const [first, second] = [new ScriptedWorker(), new ScriptedWorker()];
    gateway.addWorker(1n, first);
    gateway.addWorker(2n, second);
    const pending = gateway.post('/v1/chat/completions', { ...chat, max_tokens: 10, min_tokens: 3, seed: 5 });
    const before = await first.sequence(0);
    before.tokens('abc');
    before.lose();
    const after = await second.sequence(0);
    expect(decodeBytes(after.request.tokenIds)).to.equal('<user>Hiabc');
    expect(after.request.resumedOutputTokens).to.equal(3);
    expect(after.request.stop).to.deep.include({ maxTokens: 7, minTokens: 3 });
    expect(after.request.sampling?.seed).to.equal(before.request.sampling?.seed);
    after.tokens('def');
    after.finish();
    expect(contentOf(await chunksOf(await pending), 0)).to.equal('abcdef');
    const metrics = await gateway.context.telemetry.metrics.metrics();
    expect(metrics).to.include('stator_gateway_migrations_total{model="test-model",type="ongoing_request"} 1');
  });

  it('keeps the seed even where the client named none', async () => {
    await using gateway = await startHarness();
    const [first, second] = [new ScriptedWorker(), new ScriptedWorker()];
    gateway.addWorker(1n, first);
    gateway.addWorker(2n, second);
    const pending = gateway.post('/v1/chat/completions', chat);
    const before = await first.sequence(0);
    before.lose();
    const after = await second.sequence(0);
    expect(before.request.sampling?.seed).to.be.a('bigint');
    expect(after.request.sampling?.seed).to.equal(before.request.sampling?.seed);
    after.tokens('x');
    after.finish();
    await (await pending).text();
  });

  it('tries another worker when one refuses or fails in a way that another may not', async () => {
    await using gateway = await startHarness();
    const refusing = new ScriptedWorker();
    refusing.refuse = new StatorError('draining', 'going away');
    const failing = new ScriptedWorker((sequence) => sequence.fail('overloaded', 'full', true));
    const good = new ScriptedWorker(continuing(4, (sequence) => sequence.finish()));
    gateway.addWorker(1n, refusing);
    gateway.addWorker(2n, failing);
    gateway.addWorker(3n, good);
    const chunks = await chunksOf(await gateway.post('/v1/chat/completions', chat));
    expect(contentOf(chunks, 0)).to.equal('Zaż');
  });

  it('gives up at its limit, with the last reason', async () => {
    await using gateway = await startHarness({ migrationLimit: 1 });
    const workers = [1n, 2n, 3n].map((instanceId) => {
      const worker = new ScriptedWorker((sequence) => sequence.fail('overloaded', 'full', true));
      gateway.addWorker(instanceId, worker);
      return worker;
    });
    const response = await gateway.post('/v1/chat/completions', chat);
    expect(response.status).to.equal(529);
    expect(workers.reduce((sum, worker) => sum + worker.sequences.length, 0)).to.equal(2);
  });

  it('never moves a request that names its worker, nor what would fail everywhere', async () => {
    await using gateway = await startHarness();
    const [first, second] = [new ScriptedWorker((sequence) => sequence.lose()), new ScriptedWorker()];
    gateway.addWorker(1n, first);
    gateway.addWorker(2n, second);
    const pinned = await gateway.post('/v1/chat/completions', { ...chat, nvext: { backend_instance_id: 1 } });
    expect(pinned.status).to.equal(503);
    first.script = (sequence) => sequence.fail('invalid_argument', 'no', false);
    second.script = first.script;
    expect((await gateway.post('/v1/chat/completions', chat)).status).to.equal(400);
    expect(first.sequences.length + second.sequences.length).to.equal(2);
  });

  it('moves each of n choices by itself', async () => {
    await using gateway = await startHarness();
    const [first, second] = [
      new ScriptedWorker(),
      new ScriptedWorker(continuing(400, (sequence) => sequence.finish())),
    ];
    gateway.addWorker(1n, first);
    gateway.addWorker(2n, second);
    const pending = gateway.post('/v1/chat/completions', { ...chat, n: 2 });
    const [one, two] = [await first.sequence(0), await first.sequence(1)];
    one.tokens(encodeBytes(story).slice(0, 4));
    two.tokens(encodeBytes(story).slice(0, 9));
    one.lose();
    two.lose();
    const chunks = await chunksOf(await pending);
    expect(contentOf(chunks, 0)).to.equal(story);
    expect(contentOf(chunks, 1)).to.equal(story);
  });

  it('cancels the new attempt too when the client leaves', async () => {
    await using gateway = await startHarness();
    const [first, second] = [new ScriptedWorker(), new ScriptedWorker()];
    gateway.addWorker(1n, first);
    gateway.addWorker(2n, second);
    const abort = new AbortController();
    const pending = gateway
      .post('/v1/chat/completions', { ...chat, stream: false }, { signal: abort.signal })
      .catch(() => null);
    (await first.sequence(0)).lose();
    const after = await second.sequence(0);
    abort.abort();
    await pending;
    while (!after.cancelled) await new Promise((resolve) => setImmediate(resolve));
    expect(second.running.size).to.equal(0);
  });
});
