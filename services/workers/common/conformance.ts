import { expect } from 'chai';
import { hashBlocksInScript } from '#core/tokens/block-hash.ts';
import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import { Pooling, SamplingField, Task } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { EngineDriver, type RequestInit } from './conformance-driver.ts';
import type { Engine } from './engine.ts';

export interface EngineSuiteOptions {
  /** Whether output does not depend on what else is computed or cached, so that tokens must be equal. Default: true. */
  readonly exact?: boolean;
  /** A prompt of at least three blocks. Default: ids from 10 on, which most vocabularies have as plain text. */
  readonly prompt?: readonly number[];
  readonly timeoutMs?: number;
}

interface StopChanges {
  readonly maxTokens?: number;
  readonly minTokens?: number;
  readonly stopTokenIds?: number[];
}

type RequestChanges = Omit<Extract<RequestInit, { $typeName?: never }>, 'stop'> & { readonly stop?: StopChanges };

/** The behaviour that the common worker expects of every engine that generates. One engine serves the whole suite. */
export function describeEngine(
  name: string,
  factory: () => Engine | Promise<Engine>,
  options: EngineSuiteOptions = {},
): void {
  const exact = options.exact ?? true;

  describe(`engine: ${name}`, function () {
    this.timeout(options.timeoutMs ?? 60_000);
    let driver: EngineDriver;
    let prompt: readonly number[];

    before(async () => {
      driver = new EngineDriver(await factory());
      await driver.host.start(new AbortController().signal, () => {});
      const blockSize = driver.host.card.limits?.kvBlockSize ?? 16;
      prompt = options.prompt ?? Array.from({ length: blockSize * 3 + 2 }, (_, i) => 10 + (i % 50));
    });

    afterEach(() => {
      expect(driver.faults, 'faults of KV events').to.deep.equal([]);
      expect(driver.host.running, 'sequences left').to.equal(0);
      for (const rank of driver.host.load()) {
        expect(rank.runningSequences + rank.queuedSequences, 'sequences in the load report').to.equal(0);
        expect(rank.activeKvBlocks, 'blocks held').to.equal(0n);
        expect(rank.pendingPrefillTokens, 'prompt tokens pending').to.equal(0n);
      }
    });

    after(async () => {
      await driver?.host.engine.stop();
      await driver?.host.engine.stop();
    });

    const request = ({ stop = {}, ...init }: RequestChanges = {}): RequestInit => ({
      tokenIds: [...prompt],
      sampling: { temperature: 0 },
      ...init,
      stop: { maxTokens: 8, ignoreEos: true, ...stop },
    });

    it('streams tokens, announces the prompt once, ends once, and counts', async () => {
      const run = await driver.run(request());
      expect(run.tokens).to.have.length(8);
      expect(run.prefills).to.have.length(1);
      expect(run.ends).to.have.length(1);
      expect(run.reason).to.equal(FinishReason.LENGTH);
      expect(run.late).to.equal(0);
      const [end] = run.ends;
      expect(end?.usage).to.include({ promptTokens: prompt.length, outputTokens: 8 });
      expect(end?.usage?.cachedTokens ?? 0).to.be.lessThan(prompt.length);
      expect(run.prefills[0]?.cachedTokens).to.equal(end?.usage?.cachedTokens);
    });

    it('stops at a stop token, which is not among the tokens', async () => {
      const tokens = await driver.greedy(prompt, 16);
      const stop = tokens[3] ?? 0;
      await driver.host.engine.clearCache();
      const run = await driver.run(request({ stop: { maxTokens: 16, stopTokenIds: [stop] } }));
      expect(run.reason).to.equal(FinishReason.STOP);
      expect(run.ends[0]?.stopTokenId).to.equal(stop);
      expect(run.tokens).to.deep.equal(tokens.slice(0, tokens.indexOf(stop)));
      expect(run.ends[0]?.usage?.outputTokens).to.equal(run.tokens.length);
    });

    it('does not stop by token before min_tokens', async () => {
      const tokens = await driver.greedy(prompt, 16);
      const stop = [...new Set(tokens.slice(0, 4))];
      const run = await driver.run(request({ stop: { maxTokens: 12, minTokens: 6, stopTokenIds: stop } }));
      expect(run.tokens.length).to.be.within(6, 12);
    });

    it('aborts within a step, running and waiting', async () => {
      const long = request({ stop: { maxTokens: 500 } });
      const run = driver.submit(long);
      await new Promise<void>((resolve) => {
        run.onToken = (count) => count === 2 && resolve();
      });
      if (run.sequence !== undefined) driver.host.cancel(run.sequence);
      const before = run.tokens.length;
      await run.ended;
      expect(run.reason).to.equal(FinishReason.CANCELLED);
      expect(run.tokens.length - before).to.be.at.most(2);
      expect(run.ends[0]?.usage?.outputTokens).to.equal(run.tokens.length);
      const waiting = driver.submit(long);
      if (waiting.sequence !== undefined) driver.host.cancel(waiting.sequence);
      await waiting.ended;
      expect(waiting.reason).to.equal(FinishReason.CANCELLED);
      driver.host.engine.cancel(4_000_000_000);
    });

    it('computes sequences together without mixing them', async () => {
      const prompts = Array.from({ length: 6 }, (_, i) => [...prompt.slice(0, 5 + i), 20 + i]);
      const alone: number[][] = [];
      for (const tokenIds of prompts) alone.push(await driver.greedy(tokenIds, 10));
      await driver.host.engine.clearCache();
      const together = prompts.map((tokenIds) => driver.submit(request({ tokenIds, stop: { maxTokens: 10 } })));
      await Promise.all(together.map((run) => run.ended));
      for (const [index, run] of together.entries()) {
        expect(run.tokens).to.have.length(10);
        if (exact) expect(run.tokens, `sequence ${index}`).to.deep.equal(alone[index]);
      }
    });

    it('finds a prompt again in its cache, and says so by the hashes of its tokens', async () => {
      expect(driver.host.card.capabilities?.kvEvents, 'announces its blocks').to.equal(true);
      const blockSize = driver.host.card.limits?.kvBlockSize ?? 0;
      await driver.host.engine.clearCache();
      expect(driver.mirror.size, 'blocks after clearing').to.equal(0);
      await driver.run(request());
      const salts = { cacheSalt: '', adapter: '' };
      const { sequenceHashes } = hashBlocksInScript(Uint32Array.from(prompt), blockSize, salts);
      for (const hash of sequenceHashes) expect(driver.mirror.has(hash), `block ${hash}`).to.equal(true);
      const again = await driver.run(request());
      const expected = Math.floor((prompt.length - 1) / blockSize) * blockSize;
      expect(again.ends[0]?.usage?.cachedTokens).to.equal(expected);
      const bypass = await driver.run(request({ cache: { bypassPrefixCache: true } }));
      expect(bypass.ends[0]?.usage?.cachedTokens).to.equal(0);
      const salted = await driver.run(request({ cache: { cacheSalt: 'tenant' } }));
      expect(salted.ends[0]?.usage?.cachedTokens).to.equal(0);
      const cached = driver.mirror.size;
      expect(await driver.host.engine.clearCache()).to.equal(cached);
      expect(driver.mirror.size).to.equal(0);
    });

    it('continues a migrated sequence', async () => {
      const sampled = driver.host.card.capabilities?.samplingFields.includes(SamplingField.SEED) === true;
      for (const sampling of [{ temperature: 0 }, ...(sampled ? [{ temperature: 0.8, seed: 7n }] : [])]) {
        await driver.host.engine.clearCache();
        const whole = await driver.run(request({ sampling, stop: { maxTokens: 16 } }));
        await driver.host.engine.clearCache();
        const tokenIds = [...prompt, ...whole.tokens.slice(0, 7)];
        const rest = await driver.run(request({ tokenIds, sampling, resumedOutputTokens: 7, stop: { maxTokens: 9 } }));
        expect(rest.tokens).to.have.length(9);
        expect(rest.ends[0]?.usage?.outputTokens).to.equal(9);
        if (exact) expect(rest.tokens).to.deep.equal(whole.tokens.slice(7));
      }
    });

    it('gives log-probabilities of every token, or promises none', async () => {
      const most = driver.host.card.capabilities?.maxTopLogprobs ?? 0;
      if (most === 0) {
        const asked = request({ output: { topLogprobs: 1 } });
        expect(caught(() => driver.submit(asked))).to.have.property('field', 'output.top_logprobs');
        return;
      }
      const top = Math.min(3, most);
      const run = await driver.run(request({ output: { topLogprobs: top } }));
      expect(run.logprobs).to.have.length(8);
      for (const [index, { entry, position }] of run.logprobs.entries()) {
        expect(entry).to.equal(index);
        expect(position.chosen?.tokenId).to.equal(run.tokens[index]);
        expect(position.chosen?.logprob ?? 1).to.be.at.most(0);
        expect(position.top).to.have.length(top);
        const falling = position.top.every(
          ({ logprob }, at) => at === 0 || logprob <= (position.top[at - 1]?.logprob ?? 0),
        );
        expect(falling, 'likeliest first').to.equal(true);
        expect(position.top[0]?.tokenId, 'greedy takes the likeliest').to.equal(run.tokens[index]);
      }
    });

    it('gives log-probabilities of the prompt, or promises none', async () => {
      if (driver.host.card.capabilities?.promptLogprobs !== true) {
        const asked = request({ output: { promptLogprobs: 1 } });
        expect(caught(() => driver.submit(asked))).to.have.property('field', 'output.prompt_logprobs');
        return;
      }
      const run = await driver.run(request({ output: { promptLogprobs: 1 } }));
      const positions = run.prefills[0]?.promptLogprobs ?? [];
      expect(positions).to.have.length(prompt.length - 1);
      expect(positions.map(({ chosen }) => chosen?.tokenId)).to.deep.equal(prompt.slice(1));
    });

    it('refuses bad input by the name of the field and works on', async () => {
      const vocabulary = driver.host.card.tokenizer?.vocabSize ?? 0;
      const context = driver.host.card.limits?.contextLength ?? 0;
      const bad: readonly [string, RequestInit][] = [
        ['token_ids', request({ tokenIds: [] })],
        ['token_ids[1]', request({ tokenIds: [10, vocabulary] })],
        ['token_ids', request({ tokenIds: new Array<number>(context).fill(10) })],
        ['resumed_output_tokens', request({ resumedOutputTokens: prompt.length + 1 })],
        ['stop.max_tokens', request({ stop: { maxTokens: 0 } })],
        ['stop.min_tokens', request({ stop: { maxTokens: 1, minTokens: 2 } })],
        ['stop.stop_token_ids[0]', request({ stop: { stopTokenIds: [vocabulary] } })],
        ['sampling.temperature', request({ sampling: { temperature: -1 } })],
        ['sampling.temperature', request({ sampling: { temperature: Number.NaN } })],
        ['sampling.top_p', request({ sampling: { topP: 0 } })],
        ['sampling.top_p', request({ sampling: { topP: 1.5 } })],
        ['sampling.min_p', request({ sampling: { minP: 2 } })],
        ['sampling.logit_bias[3]', request({ sampling: { logitBias: { 3: 101 } } })],
        ['output.top_logprobs', request({ output: { topLogprobs: 1000 } })],
        ['data_parallel_rank', request({ dataParallelRank: 99 })],
        ['deadline_unix_ms', request({ deadlineUnixMs: 1n })],
      ];
      for (const [field, init] of bad) {
        const thrown = caught(() => driver.submit(init));
        expect(thrown, field).to.be.instanceOf(StatorError);
        expect(thrown).to.have.property('field', field);
      }
      expect((await driver.run(request())).tokens).to.have.length(8);
    });

    it('embeds: the same input gives the same vector of length 1, or promises none', async () => {
      const { engine } = driver.host;
      if (engine.embed === undefined) {
        expect(driver.host.card.capabilities?.tasks).to.not.include(Task.EMBEDDING);
        expect(driver.host.card.capabilities?.embeddingDimensions).to.equal(0);
        return;
      }
      const inputs = [
        [10, 11, 12],
        [10, 11, 12],
        [40, 41],
      ].map((ids) => ({ tokenIds: Uint32Array.from(ids) }));
      const embedding = { pooling: Pooling.MEAN, normalize: true, signal: new AbortController().signal };
      const [first, same, other] = await engine.embed(inputs, embedding);
      expect(first).to.have.length(driver.host.card.capabilities?.embeddingDimensions ?? 0);
      expect(same).to.deep.equal(first);
      expect(other).to.not.deep.equal(first);
      const squares = [...(first ?? [])].reduce((sum, value) => sum + value * value, 0);
      expect(squares).to.be.closeTo(1, 1e-3);
    });
  });
}

function caught(call: () => unknown): unknown {
  try {
    call();
  } catch (thrown) {
    return thrown;
  }
  return undefined;
}
