import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect } from 'chai';
import { StatorError } from '#lib/errors/errors.ts';
import { linesOf } from './lines.ts';
import { openTrace, type TraceFormat, type TraceOptions } from './open-trace.ts';
import type { TraceRequest } from './trace-request.ts';

const folder = mkdtempSync(join(tmpdir(), 'traces-'));
const defaults: TraceOptions = { format: 'mooncake', blockTokens: 4, sharedPrefixRatio: 0, prefixGroups: 0 };

function fileOf(rows: readonly unknown[]): string {
  const path = join(folder, 'trace.jsonl');
  writeFileSync(path, rows.map((row) => (typeof row === 'string' ? row : JSON.stringify(row))).join('\n'));
  return path;
}

async function all<T>(values: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const value of values) found.push(value);
  return found;
}

async function read(rows: readonly unknown[], options: Partial<TraceOptions> = {}): Promise<TraceRequest[]> {
  return all(openTrace(fileOf(rows), { ...defaults, ...options }));
}

async function failure(rows: readonly unknown[], format: TraceFormat = 'mooncake'): Promise<string> {
  try {
    await read(rows, { format });
  } catch (thrown) {
    if (thrown instanceof StatorError) return `${thrown.code} ${thrown.field}: ${thrown.message.replace(folder, '')}`;
    throw thrown;
  }
  return 'nothing was wrong';
}

function shapeOf({ prompt }: TraceRequest): [number, number][] {
  return Array.from(prompt.ids, (id, run) => [id, prompt.lengths[run] ?? 0]);
}

const row = { timestamp: 5, input_length: 10, output_length: 3, hash_ids: [1, 2, 3] };

describe('traces', () => {
  after(() => rmSync(folder, { recursive: true }));

  describe('mooncake', () => {
    it('has lengths, content and times, under either name', async () => {
      const other = { created_time: 6, input_tokens: 8, output_tokens: 1, hash_ids: [1, 2], priority: -2 };
      const [first, second] = await read([row, '', { ...other, strict_priority: 3, policy_class: 'batch' }]);
      expect(first).to.include({ line: 1, arrivalMs: 5, promptTokens: 10, outputTokens: 3, follows: 'nothing' });
      expect(first && shapeOf(first)).to.deep.equal([
        [1, 4],
        [2, 4],
        [3, 2],
      ]);
      expect(second).to.include({ line: 3, arrivalMs: 6, promptTokens: 8, outputTokens: 1, policyClass: 'batch' });
      expect(second).to.include({ priority: -2, strictPriority: 3 });
    });

    it('takes full blocks where no length is said, and its own content beyond the ids', async () => {
      const { input_length: _, ...full } = row;
      const [first, second] = await read([full, { ...row, input_length: 15 }]);
      expect(first?.promptTokens).to.equal(12);
      expect(second && shapeOf(second)).to.deep.equal([
        [1, 4],
        [2, 4],
        [3, 4],
        [-2, 3],
      ]);
    });

    it('chains the rows of a session', async () => {
      const later = { session_id: 'a', delay_ms: 50, output_length: 1, hash_ids: [1, 2, 3, 4] };
      const requests = await read([{ ...row, session_id: 'a' }, later, { ...row, timestamp: 4, session_id: 7 }]);
      expect(
        requests.map(({ sessionId, follows, arrivalMs, delayMs }) => [sessionId, follows, arrivalMs, delayMs]),
      ).to.deep.equal([
        ['7', 'session', 4, undefined],
        ['a', 'session', 5, undefined],
        ['a', 'session', undefined, 50],
      ]);
    });

    it('names file, line and field of what is wrong', async () => {
      const cases: [readonly unknown[], string][] = [
        [[row, '{"timestamp":'], 'invalid_argument trace: /trace.jsonl, line 2: no JSON: '],
        [['[1]'], 'invalid_argument trace: /trace.jsonl, line 1: expected an object, got [1].'],
        [[{ ...row, hash_ids: undefined }], 'invalid_argument hash_ids: /trace.jsonl, line 1, hash_ids: missing.'],
        [[row, { ...row, output_length: 0 }], 'line 2, output_length: expected at least 1, got 0.'],
        [[{ ...row, output_length: undefined }], 'line 1, output_length: missing.'],
        [[{ ...row, input_length: 2.5 }], 'line 1, input_length: expected a whole number, got 2.5.'],
        [[{ ...row, input_length: '9' }], 'line 1, input_length: expected a number, got "9".'],
        [[{ ...row, input_length: 8 }], 'line 1, hash_ids: 8 tokens fill 2 blocks of 4, but 3 ids.'],
        [[{ ...row, hash_ids: [1, -2, 3] }], 'line 1, hash_ids[1]: expected at least 0, got -2.'],
        [[{ ...row, hash_ids: [1, 2, 'x'] }], 'line 1, hash_ids[2]: expected a number, got "x".'],
        [[{ ...row, hash_ids: 3 }], 'line 1, hash_ids: expected a list, got 3.'],
        [[{ output_length: 1, hash_ids: [] }], 'line 1, hash_ids: a prompt needs at least one block'],
        [[{ ...row, timestamp: -1 }], 'line 1, timestamp: expected at least 0, got -1.'],
        [[{ ...row, delay: 'soon' }], 'line 1, delay: expected a number, got "soon".'],
        [[{ ...row, session_id: {} }], 'line 1, session_id: expected text, got {}.'],
        [[{ ...row, strict_priority: -1 }], 'line 1, strict_priority: expected at least 0, got -1.'],
      ];
      for (const [rows, expected] of cases) expect(await failure(rows)).to.include(expected);
    });
  });

  it('mooncake-delta: prompts grow within their session', async () => {
    const rows = [
      { session_id: 'a', timestamp: 0, input_length: 6, output_length: 1, hash_ids: [1, 2] },
      { session_id: 'b', timestamp: 1, input_length: 4, output_length: 1, hash_ids: [9] },
      { session_id: 'a', delay: 3, input_length: 5, output_length: 1, hash_ids: [3, 4] },
    ];
    const requests = await read(rows, { format: 'mooncake-delta' });
    expect(requests.map(({ promptTokens }) => promptTokens)).to.have.members([6, 4, 11]);
    const last = requests.find(({ line }) => line === 3);
    expect(last && shapeOf(last)).to.deep.equal([
      [1, 4],
      [2, 2],
      [3, 4],
      [4, 1],
    ]);
    const { session_id: _, ...single } = rows[0] ?? {};
    expect(await failure([single], 'mooncake-delta')).to.include('line 1, session_id: missing.');
  });

  it('agentic_mooncake: rows wait for others', async () => {
    const start = { ...row, request_id: 'r1', session_id: 's', branches: ['r2'] };
    const waits = { ...row, request_id: 'r2', wait_for: ['r1'], delay: 10, tool_wait_ms: 2.5, prefix_reset: true };
    const [first, second] = await read([start, waits], { format: 'agentic_mooncake' });
    expect(first).to.include({ requestId: 'r1', follows: 'nothing', sessionId: 's' });
    expect(second)
      .to.include({ requestId: 'r2', follows: 'requests', delayMs: 12.5 })
      .and.deep.include({ waitFor: ['r1'] });
    const wrong: [unknown, string][] = [
      [row, 'line 1, request_id: missing.'],
      [{ ...waits, wait_for: ['r2'] }, 'line 1, wait_for: a request cannot wait for itself.'],
      [{ ...start, timestamp: undefined }, 'line 1, timestamp: missing.'],
      [{ ...start, prefix_reset: 'no' }, 'line 1, prefix_reset: expected true or false, got "no".'],
      [{ ...waits, wait_for: [[]] }, 'line 1, wait_for[0]: expected text, got [].'],
    ];
    for (const [line, expected] of wrong) expect(await failure([line], 'agentic_mooncake')).to.include(expected);
  });

  describe('applied_compute_agentic', () => {
    const session = {
      num_turns: 2,
      input_prompt_length: 16,
      assistant_response_length: [8, 4],
      tool_call_output_length: [4, 8],
      tool_call_latency: [1.5, 0.8],
      final_assistant_response_length: 5,
    };

    it('becomes one request for each turn and one at the end', async () => {
      const requests = await read([session, session], { format: 'applied_compute_agentic' });
      expect(requests.map(({ promptTokens }) => promptTokens)).to.deep.equal([16, 28, 40, 16, 28, 40]);
      expect(requests.map(({ outputTokens }) => outputTokens)).to.deep.equal([8, 4, 5, 8, 4, 5]);
      expect(requests.map(({ delayMs }) => delayMs)).to.deep.equal([undefined, 1500, 800, undefined, 1500, 800]);
      const [first, second, , fourth] = requests;
      // The answer is part of the next prompt under the id that the first request gave it.
      expect(second && shapeOf(second)[1]).to.deep.equal([first?.outputId, 8]);
      expect(first?.prompt.ids[0]).not.to.equal(fourth?.prompt.ids[0]);
    });

    it('shares prefixes within groups where asked to', async () => {
      const options = { format: 'applied_compute_agentic', sharedPrefixRatio: 0.5, prefixGroups: 2 } as const;
      const firsts = (await read([session, session, session], options)).filter(({ delayMs }) => delayMs === undefined);
      expect(firsts.map((request) => shapeOf(request)[0])).to.deep.equal([
        [0, 8],
        [1, 8],
        [0, 8],
      ]);
      expect(new Set(firsts.map((request) => shapeOf(request)[1]?.[0])).size).to.equal(3);
    });

    it('names what is wrong', async () => {
      const cases: [unknown, string][] = [
        [
          { ...session, tool_call_latency: [1] },
          'line 1, tool_call_latency: expected 2 values, one for each turn, got 1.',
        ],
        [
          { ...session, assistant_response_length: [8, 0] },
          'assistant_response_length[1]: expected at least 1, got 0.',
        ],
        [{ ...session, num_turns: undefined }, 'line 1, num_turns: missing.'],
        [{ ...session, final_assistant_response_length: undefined }, 'final_assistant_response_length: missing.'],
      ];
      for (const [line, expected] of cases)
        expect(await failure([line], 'applied_compute_agentic')).to.include(expected);
    });
  });

  describe('dynamo request traces', () => {
    const record = (receivedMs: number, more: object = {}, request: object = {}, replay: object = {}) => ({
      schema: 'dynamo.request.trace.v1',
      event_type: 'request_end',
      event_time_unix_ms: receivedMs + 100,
      request: {
        request_id: `r${receivedMs}`,
        request_received_ms: receivedMs,
        output_tokens: 4,
        replay: { trace_block_size: 64, input_length: 130, input_sequence_hashes: [1, 2, 3], ...replay },
        ...request,
      },
      ...more,
    });

    it('are read bare or wrapped, in the order of arrival', async () => {
      const payload = { ...record(0), event_type: 'request_payload', request: undefined };
      const requests = await read([record(20), payload, { timestamp: 3, event: record(10) }], { format: 'dynamo' });
      expect(requests.map(({ arrivalMs, requestId }) => [arrivalMs, requestId])).to.deep.equal([
        [10, 'r10'],
        [20, 'r20'],
      ]);
      expect(requests[0] && shapeOf(requests[0])).to.deep.equal([
        [1, 64],
        [2, 64],
        [3, 2],
      ]);
    });

    it('keep hashes of 64 bits apart that differ in their lowest ones', async () => {
      const text = (hash: string): string => JSON.stringify(record(1)).replace('[1,2,3]', `[1,2,${hash}]`);
      const lines = [text('18446744073709551615'), text('18446744073709551614'), text('18446744073709551615')];
      const [first, second, third] = (await read(lines, { format: 'dynamo' })).map(({ prompt }) => prompt.ids[2]);
      expect(first).to.equal(third).and.not.to.equal(second);
    });

    it('turn the times of an agent into delays', async () => {
      const agent = { agent_context: { session_id: 's' } };
      const requests = await read([record(0, agent, { total_time_ms: 40 }), record(70, agent), record(200, agent)], {
        format: 'dynamo',
      });
      expect(requests.map(({ delayMs }) => delayMs)).to.deep.equal([undefined, 30, 30]);
      expect(requests.every(({ follows }) => follows === 'session')).to.equal(true);
    });

    it('leave requests without a session at their times', async () => {
      const agent = { agent_context: { session_id: 's' } };
      const requests = await read([record(0, agent), record(50), record(120, agent)], { format: 'dynamo' });
      expect(requests.map(({ follows, delayMs }) => [follows, delayMs])).to.deep.equal([
        ['session', undefined],
        ['nothing', undefined],
        ['session', 20],
      ]);
    });

    it('are those of one model where that is wanted', async () => {
      const of = (receivedMs: number, model: string, size: number) =>
        record(receivedMs, {}, { model }, { trace_block_size: size, input_sequence_hashes: [1], input_length: 10 });
      const rows = [of(0, 'a', 64), of(1, 'b', 16), of(2, 'a', 64)];
      const requests = await read(rows, { format: 'dynamo', model: 'a' });
      expect(requests.map(({ requestId }) => requestId)).to.deep.equal(['r0', 'r2']);
      expect(await failure(rows, 'dynamo')).to.include('expected 64 as in the rows before');
    });

    it('say what is wrong', async () => {
      const cases: [readonly unknown[], string][] = [
        [[{ ...record(1), schema: 'other' }], 'line 1, schema: expected dynamo.request.trace.v1, got "other".'],
        [[record(1, {}, { replay: undefined })], 'line 1, request.replay: missing.'],
        [
          [record(1), record(2, {}, {}, { trace_block_size: 32 })],
          'trace_block_size: expected 64 as in the rows before',
        ],
        [[record(1, {}, {}, { input_length: 500 })], '500 tokens fill 8 blocks of 64, got 3.'],
        [[record(1, {}, {}, { input_sequence_hashes: [1, 2, -1] })], 'expected a hash of 64 bits, got -1.'],
        [[record(1, {}, { output_tokens: null })], 'output_tokens: missing.'],
      ];
      for (const [rows, expected] of cases) expect(await failure(rows, 'dynamo')).to.include(expected);
    });
  });

  describe('files', () => {
    it('may be packed, and end without a line break', async () => {
      const path = join(folder, 'trace.jsonl.gz');
      const rows = Array.from({ length: 5000 }, (_, at) => JSON.stringify({ ...row, timestamp: at }));
      writeFileSync(path, gzipSync(rows.join('\n')));
      const requests = await all(openTrace(path, defaults));
      expect(requests.map(({ arrivalMs }) => arrivalMs)).to.deep.equal(rows.map((_, at) => at));
    });

    it('say what keeps them from being read', async () => {
      const open = async (path: string): Promise<string> => {
        const thrown: unknown = await all(openTrace(path, defaults)).catch((error: unknown) => error);
        return thrown instanceof StatorError ? `${thrown.code}: ${thrown.message}` : String(thrown);
      };
      expect(await open(join(folder, 'absent.jsonl'))).to.match(/^not_found: The trace .*absent.jsonl does not exist/);
      const broken = join(folder, 'broken.jsonl.gz');
      writeFileSync(broken, 'no gzip');
      expect(await open(broken)).to.match(
        /^invalid_argument: The trace .*broken.jsonl.gz cannot be read: incorrect header/,
      );
      expect(await open(folder)).to.match(/^invalid_argument: The trace .* cannot be read: EISDIR/);
    });

    it('bound the length of a line', async () => {
      const path = fileOf([row, 'x'.repeat(600_000)]);
      const thrown: unknown = await all(linesOf(path, 300_000)).catch((error: unknown) => error);
      expect(thrown)
        .to.be.instanceOf(StatorError)
        .with.property('message')
        .that.matches(/line 2: longer than 300000 bytes/);
    });
  });
});
