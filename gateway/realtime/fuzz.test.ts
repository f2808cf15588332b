import { expect } from 'chai';
import fc from 'fast-check';
import { StatorError } from '#lib/errors/errors.ts';
import { realtimeWorld } from '../testing/realtime.ts';
import { answering } from '../testing/scripted-worker.ts';
import { until } from '../testing/until.ts';
import { parseMessage, readEvent } from './read-event.ts';
import { clientEvent } from './schema.ts';

const types = [
  ...clientEvent.options.map((option) => option.shape.type.value),
  'input_audio_buffer.append',
  'conversation.item.truncate',
  '__proto__',
];
const names = ['session', 'response', 'item', 'item_id', 'event_id', 'previous_item_id', 'response_id'];
const inner = [
  'type',
  'role',
  'content',
  'input',
  'tools',
  'tool_choice',
  'model',
  'metadata',
  'conversation',
  'audio',
];
const values = fc.constantFrom<unknown>('message', 'user', 'none', 'a', '', null, 0, [], {}, ['text'], [{}], [null]);
const part = fc.dictionary(fc.constantFrom(...inner), fc.oneof(values, fc.jsonValue()));
const event = fc
  .tuple(fc.constantFrom<unknown>(...types, 1, null), fc.dictionary(fc.constantFrom(...names), fc.oneof(part, values)))
  .map(([type, rest]) => ({ ...rest, type }));

describe('realtime events of any kind', () => {
  it('are understood or refused by a typed error', () => {
    fc.assert(
      fc.property(fc.oneof(event, fc.jsonValue()), (value) => {
        try {
          readEvent(parseMessage(JSON.stringify(value)));
        } catch (thrown) {
          expect(thrown).to.be.instanceOf(StatorError);
          expect(StatorError.from(thrown).code).to.be.oneOf(['invalid_argument', 'unsupported']);
        }
      }),
      { numRuns: 3000 },
    );
  });

  it('leave the connection able to converse', async () => {
    await using world = await realtimeWorld({}, answering('Hello'));
    const client = await world.connect();
    for (const value of fc.sample(fc.oneof(event, fc.jsonValue()), { numRuns: 300, seed: 7 }))
      client.send(JSON.stringify(value));
    client.send({ type: 'session.update', event_id: 'last', session: { model: 'test-model', tools: [] } });
    // A response may be running, whose end makes room.
    await until(() => {
      const begun = client.of('response.created').length;
      return client.of('session.updated').length > 0 && client.of('response.done').length === begun;
    });
    expect(client.close).to.equal(null);
    const errors = client.of('error').map(({ error }) => (error as { code: string }).code);
    expect(errors).not.to.include('internal');
    const before = client.of('response.done').length;
    const response = {
      input: [{ type: 'message', role: 'user', content: [{ type: 'input_text', text: 'Hi' }] }],
      conversation: 'none',
    };
    client.send({ type: 'response.create', response });
    const done = await client.event('response.done', before);
    expect(done).to.have.nested.property('response.status', 'completed');
  });
});
