import { expect } from 'chai';
import type { ModelInferRequest, ModelStreamInferResponse } from '#gen/inference/kserve_pb.ts';
import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import { ScriptedWorker } from '../testing/scripted-worker.ts';
import { asking, outputOf, refusal, streamInput, tensorWorld, textInput } from '../testing/tensors.ts';
import { until } from '../testing/until.ts';

/** A request stream that a test feeds. */
class Feed implements AsyncIterable<ModelInferRequest> {
  readonly #items: ModelInferRequest[] = [];
  #ended = false;
  taken = 0;
  #wake: () => void = () => {};

  push(...items: ModelInferRequest[]): void {
    this.#items.push(...items);
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ModelInferRequest> {
    for (;;) {
      const item = this.#items.shift();
      if (item !== undefined) {
        this.taken += 1;
        yield item;
      } else if (this.#ended) return;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
  }
}

/** Collects a stream as it comes. */
function collect(stream: AsyncIterable<ModelStreamInferResponse>): {
  readonly responses: ModelStreamInferResponse[];
  readonly ended: Promise<void>;
} {
  const responses: ModelStreamInferResponse[] = [];
  const read = async (): Promise<void> => {
    for await (const response of stream) responses.push(response);
  };
  const ended = read();
  ended.catch(() => {});
  return { responses, ended };
}

describe('KServe streams', () => {
  it('texts as they come, the last marked', async () => {
    await using world = await tensorWorld({}, null);
    const { worker, client } = world;
    const feed = new Feed();
    const { responses, ended } = collect(client.modelStreamInfer(feed));
    feed.push(asking('', { id: 'a', inputs: [textInput('Hi'), streamInput(true)] }));
    const sequence = await worker.sequence(0);
    sequence.prefilled();
    sequence.tokens('Hel');
    await until(() => responses.length === 1);
    sequence.tokens('lo');
    await until(() => responses.length === 2);
    sequence.finish();
    await until(() => responses.length === 3);
    const all = responses.map(({ inferResponse }) => [
      inferResponse?.id,
      ...outputOf(inferResponse, 'text_output'),
      ...outputOf(inferResponse, 'finish_reason'),
      inferResponse?.parameters['triton_final_response']?.parameterChoice.value,
    ]);
    expect(all).to.deep.equal([
      ['a', 'Hel', '', false],
      ['a', 'lo', '', false],
      ['a', '', 'stop', true],
    ]);
    feed.end();
    await ended;
  });

  it('one response to a request that does not ask for more, in the order of requests without ids', async () => {
    await using world = await tensorWorld();
    const { worker, client } = world;
    const feed = new Feed();
    const { responses, ended } = collect(client.modelStreamInfer(feed));
    feed.push(asking('1'), asking('22'), asking('333'));
    feed.end();
    await ended;
    expect(responses.map(({ inferResponse }) => outputOf(inferResponse, 'text_output'))).to.deep.equal([
      ['Hello'],
      ['Hello'],
      ['Hello'],
    ]);
    expect(worker.sequences.map(({ request }) => request.tokenIds.length)).to.deep.equal([1, 2, 3]);
  });

  it('requests with ids beside each other, as many as the settings say', async () => {
    await using world = await tensorWorld({ kserveStreamRequests: 2 }, null);
    const { worker, client } = world;
    const feed = new Feed();
    const { responses, ended } = collect(client.modelStreamInfer(feed));
    feed.push(...['a', 'b', 'c'].map((id) => asking('Hi', { id })));
    const second = await worker.sequence(1);
    second.tokens('two');
    second.finish(FinishReason.STOP);
    await until(() => responses.length === 1);
    expect(responses[0]?.inferResponse?.id).to.equal('b');
    await worker.sequence(2);
    expect(worker.running.size).to.equal(2);
    for (const sequence of [...worker.running]) sequence.finish(FinishReason.STOP);
    feed.end();
    await ended;
    expect(responses.map(({ inferResponse }) => inferResponse?.id).sort()).to.deep.equal(['a', 'b', 'c']);
  });

  it('says what is wrong with a request and goes on', async () => {
    await using world = await tensorWorld();
    const { client } = world;
    const feed = new Feed();
    const { responses, ended } = collect(client.modelStreamInfer(feed));
    feed.push(asking('Hi', { id: 'bad', modelName: 'nope' }), asking('Hi', { id: 'good' }));
    feed.end();
    await ended;
    const bad = responses.find(({ inferResponse }) => inferResponse?.id === 'bad');
    expect(bad?.errorMessage).to.match(/^model_not_found: The model `nope` does not exist/);
    const good = responses.find(({ inferResponse }) => inferResponse?.id === 'good');
    expect(good?.errorMessage).to.equal('');
    expect(outputOf(good?.inferResponse, 'text_output')).to.deep.equal(['Hello']);
  });

  it('goes on with another worker when one is lost', async () => {
    await using world = await tensorWorld({}, null);
    const { gateway, worker, client } = world;
    const feed = new Feed();
    const { responses, ended } = collect(client.modelStreamInfer(feed));
    feed.push(asking('', { id: 'a', inputs: [textInput('Hi'), streamInput(true)] }));
    const sequence = await worker.sequence(0);
    const other = new ScriptedWorker();
    gateway.addWorker(2n, other);
    sequence.tokens('Hel');
    await until(() => responses.length === 1);
    sequence.lose();
    const next = await other.sequence(0);
    next.tokens('lo');
    next.finish();
    feed.end();
    await ended;
    expect(responses.flatMap(({ inferResponse }) => outputOf(inferResponse, 'text_output')).join('')).to.equal('Hello');
  });

  it('tells choices apart', async () => {
    await using world = await tensorWorld();
    const { client } = world;
    const feed = new Feed();
    const { responses, ended } = collect(client.modelStreamInfer(feed));
    feed.push(asking('', { inputs: [textInput('Hi'), streamInput(true)] }, { n: { case: 'int64Param', value: 2n } }));
    feed.end();
    await ended;
    const texts = ['', ''];
    for (const { inferResponse } of responses) {
      const index = Number(inferResponse?.parameters['choice_index']?.parameterChoice.value);
      texts[index] += outputOf(inferResponse, 'text_output').join('');
    }
    expect(texts).to.deep.equal(['Hello', 'Hello']);
    const finals = responses.map(
      ({ inferResponse }) => inferResponse?.parameters['triton_final_response']?.parameterChoice.value,
    );
    expect(finals.filter((final) => final === true)).to.have.length(1);
    expect(finals.at(-1)).to.equal(true);
  });

  it('until the client leaves: everything it had asked for is cancelled', async () => {
    await using world = await tensorWorld({}, null);
    const { gateway, worker, client } = world;
    const feed = new Feed();
    const abort = new AbortController();
    const { ended } = collect(client.modelStreamInfer(feed, { signal: abort.signal }));
    feed.push(asking('Hi', { id: 'a' }), asking('', { id: 'b', inputs: [textInput('Hi'), streamInput(true)] }));
    await worker.sequence(1);
    abort.abort();
    expect((await refusal(ended)).code).to.equal('cancelled');
    await until(() => worker.sequences.every(({ cancelled }) => cancelled));
    await until(() => gateway.context.running.size === 0);
  });

  it('until the gateway drains: what runs ends, and then the stream', async () => {
    await using world = await tensorWorld({}, null);
    const { gateway, worker, client } = world;
    const feed = new Feed();
    const { responses, ended } = collect(client.modelStreamInfer(feed));
    feed.push(asking('Hi', { id: 'a' }));
    const sequence = await worker.sequence(0);
    gateway.drain();
    sequence.tokens('done');
    sequence.finish();
    await ended;
    expect(responses.map(({ inferResponse }) => outputOf(inferResponse, 'text_output'))).to.deep.equal([['done']]);
  });
});
