import { expect } from 'chai';
import { hashBlocks } from '../tokens/index.ts';
import {
  engineClearCache,
  engineSnapshot,
  type ModelHandle,
  modelFree,
  modelLoad,
  referenceGreedy,
  vocabTokenBytes,
} from './index.ts';
import { chat, finishReasons, replay, TestEngine, textOf } from './testing/harness.ts';
import { skippedBecause, smolLm2 } from './testing/model.ts';

const jsonGrammar = 'root ::= "{\\"name\\": \\"" [a-z]+ "\\", \\"age\\": " [0-9]{1,3} "}"';

describe(`llama.cpp addon: generation${skippedBecause}`, function () {
  this.timeout(120_000);
  let model: ModelHandle;
  let france: Uint32Array;
  let story: Uint32Array;

  before(async function () {
    if (smolLm2 === undefined) return this.skip();
    model = await modelLoad(smolLm2);
    france = await chat(model, 'What is the capital of France?');
    story = await chat(
      model,
      'Tell me a long story about a fox and a crow who share one winter in an old mill by the river.',
    );
  });

  after(() => {
    if (model !== undefined) modelFree(model);
  });

  it('gives the same greedy tokens as llama.cpp driven directly', async () => {
    await using engine = await TestEngine.create(model);
    const expected = await referenceGreedy(model, story, 40);
    const { tokens, finished } = await engine.generate(story, { maxTokens: 40 });
    expect(tokens).to.deep.equal([...expected]);
    expect(finished).to.include({ reason: finishReasons.length, promptTokens: story.length, outputTokens: 40 });
    expect(textOf(model, (await engine.generate(france)).tokens)).to.contain('Paris');
  });

  it('reuses a prefix and continues it as before', async () => {
    await using engine = await TestEngine.create(model);
    const question = await chat(
      model,
      `Here is a list of cities: Rome, Madrid, Paris, Berlin, Oslo. ${'Answer in one short sentence. '.repeat(3)}What is the capital of France?`,
    );
    const first = await engine.generate(question);
    const second = await engine.generate(question);
    expect(first.prefilled?.cachedTokens).to.equal(0);
    expect(second.prefilled?.cachedTokens)
      .to.equal(Math.floor((question.length - 1) / 16) * 16)
      .and.at.least(32);
    expect(second.tokens).to.deep.equal(first.tokens);
    expect(textOf(model, second.tokens)).to.contain('Paris');
    const bypassed = await engine.generate(story, { maxTokens: 4, bypassPrefixCache: true });
    expect(bypassed.prefilled?.cachedTokens).to.equal(0);
    const salted = await engine.generate(story, { maxTokens: 4, cacheSalt: 'tenant' });
    expect(salted.prefilled?.cachedTokens).to.equal(0);
  });

  it('computes eight sequences together, more than eight in turn', async () => {
    await using engine = await TestEngine.create(model);
    const results = await Promise.all(Array.from({ length: 12 }, () => engine.generate(france, { maxTokens: 6 })));
    for (const { tokens, finished } of results) {
      expect(tokens).to.deep.equal(results[0]?.tokens);
      expect(finished?.error).to.equal(null);
    }
    expect(Math.max(...engine.steps.map((step) => step.handles.length))).to.equal(8);
    expect(engine.steps.some((step) => step.load.queuedSequences > 0)).to.equal(true);
  });

  it('runs higher priorities first', async () => {
    await using engine = await TestEngine.create(model, { maxSequences: 1 });
    const order: string[] = [];
    const run = (name: string, priority: number) =>
      engine.generate(france, { maxTokens: 2, priority }).then(() => order.push(name));
    await Promise.all([run('first', 0), run('low', -1), run('high', 5), run('middle', 0)]);
    expect(order.indexOf('high')).to.be.lessThan(order.indexOf('middle'));
    expect(order.at(-1)).to.equal('low');
  });

  it('ends a cancelled sequence at once and goes on with the others', async () => {
    await using engine = await TestEngine.create(model);
    const cancelled = engine.start(story, { maxTokens: 500, ignoreEos: true });
    const other = engine.start(france, { maxTokens: 40, ignoreEos: true });
    let seen = 0;
    let stepsAfter = 0;
    engine.onStep = (step) => {
      if (step.handles.includes(cancelled.handle) && ++seen === 3) engine.cancel(cancelled.handle);
      if (seen >= 3 && step.handles.includes(other.handle)) stepsAfter++;
    };
    const result = await cancelled.result;
    expect(result.finished?.reason).to.equal(finishReasons.cancelled);
    // How soon depends on when the event loop hears of the third token.
    expect(result.tokens.length).to.be.lessThan(500);
    expect((await other.result).tokens).to.have.length(40);
    expect(stepsAfter).to.be.greaterThan(0);
    engine.cancel(cancelled.handle);
    engine.cancel(123_456);
    expect((await engine.generate(france)).finished?.reason).to.equal(finishReasons.stop);
  });

  it('cancels a sequence that still waits', async () => {
    await using engine = await TestEngine.create(model, { maxSequences: 1 });
    const running = engine.start(story, { maxTokens: 20 });
    const waiting = engine.start(france);
    engine.cancel(waiting.handle);
    const { finished, tokens } = await waiting.result;
    expect(finished?.reason).to.equal(finishReasons.cancelled);
    expect(tokens).to.deep.equal([]);
    await running.result;
  });

  it('draws by seed and position, so that a resumed sequence continues as it would have', async () => {
    await using engine = await TestEngine.create(model);
    // Four tokens of nearly equal probability: the draw decides, not the last bits of the logits, which depend on where cells lie.
    const bias = {
      logitBiasTokens: Uint32Array.of(504, 3950, 8872, 330),
      logitBiasValues: new Float32Array(4).fill(100),
    };
    const sampling = { ...bias, temperature: 100, topK: 4, seed: 42n, ignoreEos: true };
    const whole = await engine.generate(story, { ...sampling, maxTokens: 24 });
    expect(new Set(whole.tokens).size).to.equal(4);
    const again = await engine.generate(story, { ...sampling, maxTokens: 24, bypassPrefixCache: true });
    expect(again.tokens).to.deep.equal(whole.tokens);
    const delivered = whole.tokens.slice(0, 9);
    const prompt = Uint32Array.from([...story, ...delivered]);
    const resumed = await engine.generate(prompt, { ...sampling, maxTokens: 15, resumedOutputTokens: 9 });
    expect([...delivered, ...resumed.tokens]).to.deep.equal(whole.tokens);
    const other = await engine.generate(story, { ...sampling, seed: 43n, maxTokens: 24 });
    expect(other.tokens).not.to.deep.equal(whole.tokens);
  });

  it('reports log-probabilities of the raw distribution', async () => {
    await using engine = await TestEngine.create(model);
    const { tokens, logprobs } = await engine.generate(france, { topLogprobs: 5, temperature: 1, topK: 1 });
    expect(logprobs).to.have.length(tokens.length);
    for (const { chosen, top } of logprobs) {
      expect(chosen).to.deep.equal(top[0]);
      expect(top.map((entry) => entry.rank)).to.deep.equal([1, 2, 3, 4, 5]);
      expect([...top].sort((a, b) => b.logprob - a.logprob)).to.deep.equal(top);
      const mass = top.reduce((sum, entry) => sum + Math.exp(entry.logprob), 0);
      expect(mass).to.be.within(0.2, 1.000001);
    }
    const all = await engine.generate(france, { topLogprobs: 49_152, maxTokens: 1 });
    const total = all.logprobs[0]?.top.reduce((sum, entry) => sum + Math.exp(entry.logprob), 0);
    expect(total).to.be.closeTo(1, 1e-4);
  });

  it('reports log-probabilities of the prompt', async () => {
    await using engine = await TestEngine.create(model);
    await engine.generate(story, { maxTokens: 1 });
    const { prefilled } = await engine.generate(story, { maxTokens: 1, promptLogprobs: 2 });
    const positions = prefilled?.promptLogprobs ?? [];
    expect(positions.map((position) => position.chosen.tokenId)).to.deep.equal([...story.slice(1)]);
    expect(positions.every(({ chosen, top }) => chosen.logprob <= 0 && top.length === 2 && chosen.rank >= 1)).to.equal(
      true,
    );
    expect(prefilled?.cachedTokens).to.equal(0);
  });

  it('keeps to a grammar and refuses a broken one', async () => {
    await using engine = await TestEngine.create(model);
    for (const temperature of [0, 1.5]) {
      const { tokens, finished } = await engine.generate(france, {
        grammar: jsonGrammar,
        temperature,
        maxTokens: 60,
        seed: 7n,
      });
      expect(textOf(model, tokens)).to.match(/^\{"name": "[a-z]+(?:", "age": \d{1,3}\})?$/);
      if (finished?.reason === finishReasons.stop) expect(() => JSON.parse(textOf(model, tokens))).not.to.throw();
    }
    for (const grammar of ['root ::= (', 'root ::= missing', 'other ::= "a"', '\u0000', 'root ::= root "a"']) {
      expect(() => engine.start(france, { grammar }), grammar)
        .to.throw()
        .with.property('code', 'invalid_argument');
    }
  });

  it('resumes inside a grammar', async () => {
    await using engine = await TestEngine.create(model);
    const options = { grammar: jsonGrammar, temperature: 1, seed: 3n, maxTokens: 40 };
    const whole = await engine.generate(france, options);
    const delivered = whole.tokens.slice(0, 5);
    const rest = { ...options, maxTokens: 35, resumedOutputTokens: delivered.length };
    const resumed = await engine.generate(Uint32Array.from([...france, ...delivered]), rest);
    expect(textOf(model, [...delivered, ...resumed.tokens])).to.match(/^\{"name": "[a-z]+(?:", "age": \d{1,3}\})?$/);
  });

  it('ends at stop tokens, not before min_tokens, and not at all with ignore_eos', async () => {
    await using engine = await TestEngine.create(model);
    const plain = await engine.generate(france);
    const eos = vocabTokenBytes(model).special.eos;
    expect(plain.finished).to.include({ reason: finishReasons.stop, stopTokenId: eos });
    const stop = plain.tokens[3] ?? 0;
    const stopped = await engine.generate(france, { stopTokenIds: Uint32Array.of(stop) });
    expect(stopped.tokens).to.deep.equal(plain.tokens.slice(0, plain.tokens.indexOf(stop)));
    expect(stopped.finished?.stopTokenId).to.equal(stop);
    const longer = await engine.generate(france, { minTokens: 14, maxTokens: 30 });
    expect(longer.tokens.length).to.be.at.least(14);
    expect(longer.tokens).not.to.include(eos);
    const endless = await engine.generate(france, { ignoreEos: true, maxTokens: 30 });
    expect(endless.tokens).to.have.length(30).and.include(eos);
  });

  it('applies logit bias, penalties and filters', async () => {
    await using engine = await TestEngine.create(model);
    const plain = await engine.generate(france);
    const banned = { logitBiasTokens: Uint32Array.of(plain.tokens[0] ?? 0), logitBiasValues: Float32Array.of(-100) };
    expect((await engine.generate(france, banned)).tokens[0]).not.to.equal(plain.tokens[0]);
    const forced = {
      logitBiasTokens: Uint32Array.of(100),
      logitBiasValues: Float32Array.of(100),
      ignoreEos: true,
      maxTokens: 6,
    };
    expect((await engine.generate(france, forced)).tokens).to.deep.equal(Array(6).fill(100));
    // A bias that only a penalty of the tokens already seen can outweigh.
    const weak = {
      ...forced,
      logitBiasValues: Float32Array.of(40),
      frequencyPenalty: 2,
      presencePenalty: 2,
      maxTokens: 40,
    };
    expect(new Set((await engine.generate(france, weak)).tokens).size).to.be.greaterThan(1);
    for (const filter of [{ topK: 1 }, { topP: 1e-6 }, { minP: 1 }]) {
      expect((await engine.generate(france, { temperature: 2, ...filter })).tokens).to.deep.equal(plain.tokens);
    }
  });

  it('ends at max_tokens, also 0, and at the end of the context', async () => {
    await using engine = await TestEngine.create(model, { contextLength: 256 });
    const none = await engine.generate(france, { maxTokens: 0 });
    expect(none.tokens).to.deep.equal([]);
    expect(none.finished?.reason).to.equal(finishReasons.length);
    const full = await engine.generate(story, { maxTokens: 10_000, ignoreEos: true });
    expect(full.tokens.length + story.length).to.equal(256);
    expect(full.finished?.reason).to.equal(finishReasons.length);
  });

  it('reports changes of the cache that replay to its content', async () => {
    await using engine = await TestEngine.create(model, { kvCells: 256, contextLength: 192, maxSequences: 4 });
    let random = 12_345;
    const next = (bound: number): number => {
      random = (Math.imul(random, 1_103_515_245) + 12_345) >>> 0;
      return (random >>> 8) % bound;
    };
    const prompts = Array.from({ length: 6 }, (_, kind) =>
      Uint32Array.from({ length: 120 }, (_, i) => 1000 + ((i * 7 + (i < 40 ? 0 : kind * 131)) % 5000)),
    );
    for (let round = 0; round < 4; round++) {
      const batch = Array.from({ length: 4 }, () => {
        const prompt = (prompts[next(prompts.length)] ?? story).slice(0, 20 + next(100));
        return engine.start(prompt, {
          maxTokens: 1 + next(16),
          ignoreEos: true,
          temperature: 1,
          seed: BigInt(next(1000)),
        });
      });
      if (round % 2 === 1) engine.cancel(batch[next(batch.length)]?.handle ?? 0);
      const results = await Promise.all(batch.map(({ result }) => result));
      for (const { finished } of results) expect(finished?.error).to.equal(null);
      const snapshot = replay(await engineSnapshot(engine.handle));
      expect(replay(engine.changes)).to.deep.equal(snapshot);
      expect(snapshot.size).to.equal(engine.steps.at(-1)?.load.cachedBlocks);
      expect(engine.steps.at(-1)?.load.activeBlocks).to.equal(0);
    }
    expect(
      engine.changes.some((change) => !change.stored),
      'something was evicted',
    ).to.equal(true);
    const blocks = replay(engine.changes).size;
    expect(await engineClearCache(engine.handle)).to.equal(blocks);
    expect(replay(engine.changes).size).to.equal(0);
  });

  it('names blocks by the hashes that routing uses', async () => {
    await using engine = await TestEngine.create(model);
    const options = { cacheSalt: 'tenant', maxTokens: 1, ignoreEos: true };
    await engine.generate(story, options);
    const expected = hashBlocks(story, 16, { cacheSalt: 'tenant', adapter: '' });
    expect([...replay(engine.changes)]).to.deep.equal(
      [...expected.sequenceHashes].map((hash, index) => [hash, expected.localHashes[index]]),
    );
  });

  it('preempts and recomputes when the cells run out', async () => {
    await using engine = await TestEngine.create(model, { kvCells: 256, contextLength: 256, maxSequences: 4 });
    const prompts = [3, 5, 7].map((step) =>
      Uint32Array.from({ length: 40 }, (_, i) => 2000 + ((i * step * 17) % 3000)),
    );
    const together = await Promise.all(
      prompts.map((prompt) => engine.generate(prompt, { maxTokens: 60, ignoreEos: true })),
    );
    expect(together.map(({ tokens }) => tokens.length)).to.deep.equal([60, 60, 60]);
    expect(together.every(({ finished }) => finished?.reason === finishReasons.length)).to.equal(true);
    // 300 tokens in 256 cells: some were computed more than once.
    const computed = engine.steps.reduce((sum, { pass }) => sum + (pass?.prefillTokens ?? 0), 0);
    expect(computed).to.be.greaterThan(120);
    expect(engine.steps.some((step) => step.load.runningSequences === 3)).to.equal(true);
    expect(replay(engine.changes)).to.deep.equal(replay(await engineSnapshot(engine.handle)));
  });
});
