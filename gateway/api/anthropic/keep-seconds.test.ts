import { expect } from 'chai';
import { validateBody } from '../validate.ts';
import { keepSecondsOf } from './keep-seconds.ts';
import { messagesRequest } from './schema.ts';

const hour = { type: 'ephemeral', ttl: '1h' };
const short = { type: 'ephemeral' };

function keep(change: object): number | null {
  const base = { model: 'm', max_tokens: 1, messages: [{ role: 'user', content: 'Hi' }] };
  return keepSecondsOf(validateBody(messagesRequest, { ...base, ...change }));
}

describe("breakpoints of Anthropic's prompt cache", () => {
  it('are found wherever they stand, and the longest counts', () => {
    expect(keep({})).to.equal(null);
    expect(keep({ cache_control: short })).to.equal(300);
    expect(keep({ system: [{ type: 'text', text: 'a', cache_control: hour }], cache_control: short })).to.equal(3600);
    expect(keep({ tools: [{ name: 't', input_schema: { type: 'object' }, cache_control: short }] })).to.equal(300);
    const text = { type: 'text', text: 'a', cache_control: hour };
    expect(keep({ messages: [{ role: 'user', content: [text] }] })).to.equal(3600);
    const result = { type: 'tool_result', tool_use_id: 'x', content: [text] };
    expect(keep({ messages: [{ role: 'user', content: [result] }] })).to.equal(3600);
  });

  it('live from five minutes to an hour', () => {
    expect(keep({ cache_control: { type: 'ephemeral', ttl: 1 } })).to.equal(300);
    expect(keep({ cache_control: { type: 'ephemeral', ttl: 100_000 } })).to.equal(3600);
  });
});
