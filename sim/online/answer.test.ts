import { expect } from 'chai';
import { Answer, AnswerError, refusal } from './answer.ts';
import { EventStream } from './event-stream.ts';

describe('EventStream', () => {
  const whole = Buffer.from(
    'data: {"a":"é"}\n\n: keep-alive\n\nevent: routing\ndata: {}\n\ndata: one\r\ndata: two\r\n\r\ndata: [DONE]\n\n',
  );

  it('finds events wherever the bytes are cut', () => {
    for (let size = 1; size <= whole.length; size++) {
      const events = new EventStream();
      const found: string[] = [];
      for (let at = 0; at < whole.length; at += size) found.push(...events.take(whole.subarray(at, at + size)));
      expect(found).to.deep.equal(['{"a":"é"}', 'one\ntwo', '[DONE]']);
    }
  });

  it('refuses an event without end', () => {
    const events = new EventStream();
    expect(() => events.take(Buffer.alloc(5 * 1024 * 1024, 'a'))).to.throw('An event of the stream is longer');
  });
});

describe('Answer', () => {
  const text = (content: string, finish: string | null = null): string =>
    JSON.stringify({ choices: [{ text: content, finish_reason: finish }], usage: null });

  it('times first and last token and the longest gap', () => {
    const answer = new Answer();
    for (const [content, atMs] of [
      ['a', 10],
      ['b', 14],
      ['c', 31],
    ] as const)
      answer.take(text(content), atMs);
    answer.take(text('', 'length'), 33);
    answer.take(JSON.stringify({ choices: [], usage: { prompt_tokens: 7, completion_tokens: 4 } }), 40);
    expect(answer).to.include({
      firstTokenMs: 10,
      lastTokenMs: 33,
      longestGapMs: 17,
      promptTokens: 7,
      outputTokens: 4,
    });
    expect(answer).to.include({ cachedTokens: 0, done: false });
    answer.take('[DONE]', 41);
    expect(answer.done).to.equal(true);
  });

  it('takes no text for more than text, whatever stands in it', () => {
    const texts = [
      '"nvext":',
      '"error":',
      '"usage":',
      '{"error":{"code":"x"}}',
      '"text":""',
      '\\\\"error":',
      '"finish_reason":"length"',
    ];
    for (const [at, content] of texts.entries()) {
      const answer = new Answer();
      answer.take(text(content), at);
      expect(answer, content).to.include({ firstTokenMs: at, lastTokenMs: at });
      expect(answer.promptTokens, content).to.be.NaN;
    }
    const withUsage = new Answer();
    const usage = { prompt_tokens: 3, completion_tokens: 1 };
    withUsage.take(JSON.stringify({ choices: [{ text: 'a', finish_reason: null }], usage }), 1);
    expect(withUsage).to.include({ firstTokenMs: 1, promptTokens: 3, outputTokens: 1 });
    const empty = new Answer();
    empty.take(text(''), 1);
    expect(empty.firstTokenMs).to.be.NaN;
  });

  it('reads where the stages ran, from Stator and from Dynamo', () => {
    const of = (worker_id: object): Answer['workers'] => {
      const answer = new Answer();
      answer.take(JSON.stringify({ choices: [], nvext: { worker_id } }), 0);
      return answer.workers;
    };
    const apart = {
      prefill_worker_id: '18446744073709551615',
      prefill_dp_rank: 1,
      decode_worker_id: 7,
      decode_dp_rank: 0,
    };
    expect(of(apart)).to.deep.equal({ prefill: '18446744073709551615/1', decode: '7/0' });
    expect(of({ decode_worker_id: 7 })).to.deep.equal({ prefill: '7/0', decode: '7/0' });
    expect(of({})).to.equal(undefined);
    const answer = new Answer();
    answer.take('{"choices":[],"nvext":{"worker_id":{"decode_worker_id":13098985065941001999,"decode_dp_rank":0}}}', 0);
    expect(answer.workers?.decode).to.equal('13098985065941001999/0');
  });

  it('throws the error that a stream tells', () => {
    expect(() => new Answer().take('{"error":{"code":"engine_failed","message":"m"}}', 0))
      .to.throw(AnswerError, 'm')
      .with.property('code', 'engine_failed');
    expect(() => new Answer().take('7', 0)).to.throw('is no object');
  });

  it('tells refusals from failures by status', () => {
    const codes = [400, 429, 500, 502, 503, 529].map((status) => refusal(status, '').refused);
    expect(codes).to.deep.equal([true, true, false, false, true, true]);
    expect(refusal(429, '{"error":{"code":"rate_limited"}}').code).to.equal('rate_limited');
    expect(refusal(404, 'nothing').code).to.equal('http_404');
  });
});
