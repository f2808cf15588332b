import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { type TimelineEvent, timelineOf } from './timeline.ts';

describe('timelines of request traces', () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'stator-timeline-'));
  after(() => rmSync(folder, { recursive: true }));

  async function events(rows: readonly object[]): Promise<TimelineEvent[]> {
    const file = path.join(folder, 'trace.jsonl');
    writeFileSync(file, rows.map((row) => JSON.stringify(row)).join('\n'));
    const found: TimelineEvent[] = [];
    for await (const event of timelineOf(file)) found.push(event);
    return found;
  }

  const schema = 'dynamo.request.trace.v1';
  const turn = (receivedMs: number, context?: object, more: object = {}) => ({
    ...{ schema, event_type: 'request_end', event_time_unix_ms: receivedMs + 100 },
    ...(context === undefined ? {} : { agent_context: context }),
    request: {
      ...{ request_id: 'r', model: 'm', input_tokens: 30, output_tokens: 4, request_received_ms: receivedMs },
      ...{ total_time_ms: 100, prefill_wait_time_ms: 10, prefill_time_ms: 20.5, ...more },
    },
  });

  it('have a process for each agent, a thread for each session, and the parts of turns', async () => {
    const child = { session_id: 'child', parent_session_id: 'main' };
    const found = await events([turn(1000, { session_id: 'main' }), turn(1200, child), turn(1300)]);
    const names = found
      .filter(({ ph }) => ph === 'M')
      .map(({ name, pid, tid, args }) => [name, pid, tid, args?.['name']]);
    expect(names).to.deep.equal([
      ['process_name', 2, 2, 'main'],
      ['thread_name', 2, 2, 'main'],
      ['thread_name', 2, 3, 'child'],
      ['process_name', 1, 1, 'without a session'],
      ['thread_name', 1, 1, 'without a session'],
    ]);
    const slices = found.filter(({ ph, tid }) => ph === 'X' && tid === 3);
    expect(slices.map(({ name, ts, dur }) => [name, ts, dur])).to.deep.equal([
      ['30 → 4', 200_000, 100_000],
      ['wait', 200_000, 10_000],
      ['prefill', 210_000, 20_500],
      ['output', 230_500, 69_500],
    ]);
  });

  it('have tools beside turns, as long as their ends say', async () => {
    const tool = { tool_call_id: 'c', status: 'succeeded', duration_ms: 40, ended_at_unix_ms: 1100 };
    const context = { agent_context: { session_id: 's' } };
    const [start, end] = ['tool_start', 'tool_end'].map((type) => ({
      ...{ schema, event_type: type, event_time_unix_ms: 1060, ...context },
      tool: type === 'tool_end' ? { ...tool, tool_class: 'web' } : { tool_call_id: 'c', status: 'running' },
    }));
    const found = await events([turn(1000, context.agent_context), start ?? {}, end ?? {}]);
    const tools = found.filter(({ cat }) => cat === 'tool');
    expect(tools.map(({ ph, name, ts, id }) => [ph, name, ts, id])).to.deep.equal([
      ['b', 'web', 60_000, 'c'],
      ['e', 'web', 100_000, 'c'],
    ]);
  });

  it('name the line that is none of a request trace', async () => {
    const problem = await events([turn(1), { schema: 'other' }]).catch((error: unknown) => error);
    expect(String(problem)).to.contain('line 2, schema: expected dynamo.request.trace.v1, got "other"');
  });
});
