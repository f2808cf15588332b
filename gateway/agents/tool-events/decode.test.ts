import { encode } from '@msgpack/msgpack';
import { expect } from 'chai';
import fc from 'fast-check';
import { pino } from 'pino';
import { decodeToolEvent } from './decode.ts';
import { openToolFeed } from './feed.ts';

const tool = { tool_call_id: 'call-abc', status: 'succeeded', duration_ms: 420.5 };
const event = {
  schema: 'dynamo.request.trace.v1',
  event_type: 'tool_end',
  event_time_unix_ms: 1777312801500,
  session_id: 'research:1',
  tool,
};

describe('events of tools that harnesses push', () => {
  const read = (value: unknown) => decodeToolEvent(encode(value));

  it('are read with what they may tell', () => {
    const more = { tool_class: 'web', output_tokens: 7, output_bytes: 2 ** 40, tool_name_hash: 12, error_type: 'none' };
    const full = { ...event, parent_session_id: 'research', tool: { ...tool, ...more, started_at_unix_ms: 1 } };
    expect(read(full)).to.deep.include({ type: 'tool_end', sessionId: 'research:1', parentSessionId: 'research' });
    expect(read(full).tool).to.include({ ...tool, ...more, tool_name_hash: '12', started_at_unix_ms: 1 });
    expect(read({ ...event, extra: { deep: [1, { a: 2 }] } }).tool).to.include(tool);
  });

  it('are read whatever synonym they have of a status', () => {
    const statusOf = (status: string) => read({ ...event, tool: { ...tool, status } }).tool.status;
    expect(['ok', 'SUCCESS', 'failed', 'timeout', 'canceled', 'running'].map(statusOf)).to.deep.equal([
      ...['succeeded', 'succeeded', 'error', 'error', 'cancelled', 'running'],
    ]);
  });

  it('are refused by the name of what is wrong', () => {
    const cases: readonly (readonly [object, string])[] = [
      [{ ...event, schema: 'other' }, 'schema'],
      [{ ...event, event_type: 'request_end' }, 'event_type'],
      [{ ...event, session_id: undefined }, 'session_id'],
      [{ ...event, session_id: 'x'.repeat(257) }, 'session_id'],
      [{ ...event, event_time_unix_ms: -1 }, 'event_time_unix_ms'],
      [{ ...event, tool: { ...tool, status: 'odd' } }, 'tool.status'],
      [{ ...event, tool: { status: 'ok' } }, 'tool.tool_call_id'],
      [{ ...event, tool: { ...tool, duration_ms: 'long' } }, 'duration_ms'],
      [{ ...event, padding: 'x'.repeat(70_000) }, '65536 bytes'],
    ];
    for (const [value, problem] of cases) expect(() => read(value), problem).to.throw(problem);
  });

  it('never do more than throw, whatever the bytes are', () => {
    const bytes = encode(event);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(bytes.length - 1), (noise, at) => {
        const mutated = Uint8Array.from(bytes);
        mutated.set(noise.subarray(0, mutated.length - at), at);
        for (const input of [noise, mutated]) {
          try {
            decodeToolEvent(input);
          } catch (thrown) {
            expect(thrown).to.be.instanceOf(Error);
          }
        }
      }),
    );
  });

  it('come from this machine only', async () => {
    const log = pino({ level: 'silent' });
    const o = { topic: 't', onEvent: () => {}, onGarbled: () => {}, log };
    for (const endpoint of ['tcp://0.0.0.0:20390', 'tcp://*:20390', 'tcp://10.0.0.1:20390', 'udp://127.0.0.1:1'])
      expect(await openToolFeed({ ...o, endpoint }).catch((error: unknown) => error), endpoint).to.include({
        code: 'invalid_argument',
        field: 'toolEventsEndpoint',
      });
    const feed = await openToolFeed({ ...o, endpoint: 'tcp://127.0.0.1:*' });
    const taken = await openToolFeed({ ...o, endpoint: feed.endpoint }).catch((error: unknown) => error);
    expect(taken).to.include({ code: 'invalid_argument' });
    feed.close();
  });
});
