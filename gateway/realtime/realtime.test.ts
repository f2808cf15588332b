import { expect } from 'chai';
import { type RealtimeClient, realtimeWorld } from '../testing/realtime.ts';
import { answering, ScriptedWorker } from '../testing/scripted-worker.ts';
import { hermesCall, toolCard } from '../testing/tool-chats.ts';
import { until } from '../testing/until.ts';

interface ShownResponse {
  readonly id: string;
  readonly status: string;
  readonly status_details: {
    readonly type: string;
    readonly reason?: string;
    readonly error?: { code: string };
  } | null;
  readonly output: readonly { readonly id: string; readonly status: string; readonly content: { text: string }[] }[];
  readonly usage: { readonly input_tokens: number; readonly output_tokens: number } | null;
  readonly conversation_id: string | null;
}

async function done(client: RealtimeClient, index = 0): Promise<ShownResponse> {
  return (await client.event('response.done', index))['response'] as ShownResponse;
}

function textOf({ output }: ShownResponse): string {
  return output.flatMap(({ content }) => content.map(({ text }) => text)).join('');
}

function fields(value: unknown): Readonly<Record<string, unknown>> {
  return value as Readonly<Record<string, unknown>>;
}

describe('realtime', () => {
  describe('converses', () => {
    it('in text, in the events that clients know', async () => {
      await using world = await realtimeWorld({}, answering('Hello'));
      const client = await world.connect();
      const { session } = (await client.event('session.created')) as { session?: unknown };
      expect(session).to.include({ type: 'realtime', object: 'realtime.session', model: 'test-model' });
      expect(fields(session)['output_modalities']).to.deep.equal(['text']);
      client.say('Hi');
      client.send({ type: 'response.create' });
      const response = await done(client);
      expect(response).to.include({ status: 'completed', status_details: null });
      expect(textOf(response)).to.equal('Hello');
      expect(response.usage).to.include({ input_tokens: '<user>Hi'.length, output_tokens: 5 });
      const types = client.events.map(({ type }) => type);
      const firsts = types.filter((type, index) => types.indexOf(type) === index);
      expect(firsts).to.deep.equal([
        'session.created',
        'conversation.item.added',
        'conversation.item.done',
        'response.created',
        'response.output_item.added',
        'response.content_part.added',
        'response.output_text.delta',
        'response.output_text.done',
        'response.content_part.done',
        'response.output_item.done',
        'response.done',
      ]);
      const deltas = client.of('response.output_text.delta').map(({ delta }) => delta);
      expect(deltas.join('')).to.equal('Hello');
      expect(new Set(client.events.map(({ event_id: id }) => id)).size).to.equal(client.events.length);
      const added = client.of('conversation.item.added')[1];
      const item = fields(client.of('conversation.item.added')[0]?.['item']);
      expect(added?.['previous_item_id']).to.equal(item['id']);
    });

    it('with the whole conversation as the prompt, and instructions of the session or of one response', async () => {
      await using world = await realtimeWorld({}, answering('B'));
      const client = await world.connect();
      client.send({ type: 'session.update', session: { type: 'realtime', instructions: 'S', max_output_tokens: 9 } });
      const updated = await client.event('session.updated');
      expect(updated['session']).to.include({ instructions: 'S', max_output_tokens: 9 });
      client.say('A');
      client.send({ type: 'response.create' });
      await done(client);
      client.say('C');
      client.send({ type: 'response.create', response: { instructions: 'T' } });
      await done(client, 1);
      const prompts = world.worker.sequences.map(({ request }) => request);
      expect(prompts.map(({ tokenIds }) => tokenIds.length)).to.deep.equal([
        '<system>S<user>A'.length,
        '<system>T<user>A<assistant>B<user>C'.length,
      ]);
      expect(prompts[0]?.stop?.maxTokens).to.equal(9);
    });

    it('beside the conversation where it is asked to', async () => {
      await using world = await realtimeWorld({}, answering('x'));
      const client = await world.connect();
      client.say('Hi');
      const { item } = (await client.event('conversation.item.added')) as { item?: { id: string } };
      const input = [
        { type: 'item_reference', id: item?.id },
        { type: 'message', role: 'user', content: [{ type: 'input_text', text: '!' }] },
      ];
      const response = { conversation: 'none', input, metadata: { topic: 'a' } };
      client.send({ type: 'response.create', response });
      const answered = await done(client);
      expect(answered.conversation_id).to.equal(null);
      expect(answered).to.deep.include({ metadata: { topic: 'a' } });
      expect(client.of('conversation.item.added')).to.have.length(1);
      expect(world.worker.sequences[0]?.request.tokenIds).to.have.length('<user>Hi<user>!'.length);
    });

    it('with what the model thinks where that is asked for, in events of its own', async () => {
      const worker = new ScriptedWorker(answering('<think>Hm, so.</think>Hello'));
      await using world = await realtimeWorld({}, answering('x'));
      world.gateway.addWorker(2n, worker, { ...toolCard(), name: 'thinker' });
      for (const headers of [{}, { 'openai-beta': 'realtime=v1' }]) {
        const client = await world.connect({ query: '?model=thinker', options: { headers } });
        client.say('Hi');
        client.send({ type: 'response.create' });
        expect(textOf(await done(client))).to.equal('Hello');
        expect(client.events.filter(({ type }) => type.startsWith('stator.'))).to.deep.equal([]);
        client.send({ type: 'session.update', session: { include: ['stator.reasoning'] } });
        const { session } = await client.event('session.updated');
        expect(fields(session)['include']).to.deep.equal(['stator.reasoning']);
        client.send({ type: 'response.create' });
        const { id, output } = await done(client, 1);
        const deltas = client.of('stator.reasoning.delta');
        expect(deltas.map(({ delta }) => delta).join('')).to.equal('Hm, so.');
        expect(deltas.every(({ response_id: of }) => of === id)).to.equal(true);
        expect(client.of('stator.reasoning.done')).to.have.length(1);
        expect(client.of('stator.reasoning.done')[0]).to.include({ response_id: id, text: 'Hm, so.' });
        expect(output).to.have.length(1);
        const types = client.events.map(({ type }) => type);
        expect(types.indexOf('stator.reasoning.done')).to.be.lessThan(types.lastIndexOf('response.output_item.added'));
        client.send({ type: 'response.create', response: { include: [] } });
        await done(client, 2);
        expect(client.of('stator.reasoning.done')).to.have.length(1);
        client.send({ type: 'session.update', session: { include: ['item.input_audio_transcription.logprobs'] } });
        const error = await client.error();
        expect(error['param']).to.match(/^session\.include/);
      }
    });

    it('in the events of the beta with clients of it', async () => {
      await using world = await realtimeWorld({}, answering('Hello'));
      const client = await world.connect({ options: { headers: { 'openai-beta': 'realtime=v1' } } });
      const { session } = await client.event('session.created');
      expect(fields(session)['modalities']).to.deep.equal(['text']);
      client.say('Hi');
      client.send({ type: 'response.create', response: { modalities: ['text'], max_response_output_tokens: 2 } });
      const response = await done(client);
      expect(response).to.include({ status: 'incomplete' });
      expect(response.status_details).to.deep.equal({ type: 'incomplete', reason: 'max_output_tokens' });
      expect(fields(response.output[0]?.content[0])).to.deep.equal({ type: 'text', text: 'He' });
      expect(
        client
          .of('response.text.delta')
          .map(({ delta }) => delta)
          .join(''),
      ).to.equal('He');
      expect(client.of('conversation.item.created')).to.have.length(2);
      expect(client.of('conversation.item.added')).to.have.length(0);
    });

    it('about items that it can show, delete and put in front', async () => {
      await using world = await realtimeWorld();
      const client = await world.connect();
      const message = (id: string): object => ({
        id,
        type: 'message',
        role: 'user',
        content: [{ type: 'input_text', text: id }],
      });
      client.send({ type: 'conversation.item.create', item: message('a') });
      client.send({ type: 'conversation.item.create', item: message('b'), previous_item_id: 'root' });
      client.send({ type: 'conversation.item.create', item: message('c'), previous_item_id: 'b' });
      const third = await client.event('conversation.item.added', 2);
      expect(third['previous_item_id']).to.equal('b');
      client.send({ type: 'conversation.item.retrieve', item_id: 'c' });
      expect((await client.event('conversation.item.retrieved'))['item']).to.deep.include(message('c'));
      client.send({ type: 'conversation.item.delete', item_id: 'a' });
      expect((await client.event('conversation.item.deleted'))['item_id']).to.equal('a');
      client.send({ type: 'conversation.item.delete', item_id: 'a' });
      expect(await client.error()).to.include({ code: 'not_found', param: 'item_id' });
      client.send({ type: 'response.create' });
      const sequence = await world.worker.sequence(0);
      expect(sequence.request.tokenIds).to.have.length('<user>b<user>c'.length);
    });
  });

  describe('ends a response', () => {
    it('that the client cancels, in the engine too, and keeps what was said', async () => {
      await using world = await realtimeWorld();
      const client = await world.connect();
      client.say('Hi');
      client.send({ type: 'response.create' });
      const sequence = await world.worker.sequence(0);
      sequence.prefilled();
      sequence.tokens('Hel');
      await client.event('response.output_text.delta');
      client.send({ type: 'response.cancel' });
      const response = await done(client);
      expect(response.status).to.equal('cancelled');
      expect(response.status_details).to.deep.equal({ type: 'cancelled', reason: 'client_cancelled' });
      expect(response.output[0]).to.include({ status: 'incomplete' });
      await until(() => sequence.cancelled);
      client.send({ type: 'response.cancel' });
      expect(await client.error()).to.include({ code: 'response_cancel_not_active' });
      client.send({ type: 'response.create' });
      const next = await world.worker.sequence(1);
      expect(next.request.tokenIds).to.have.length('<user>Hi<assistant>Hel'.length);
    });

    it('whose client leaves in its middle', async () => {
      await using world = await realtimeWorld();
      const client = await world.connect();
      client.say('Hi');
      client.send({ type: 'response.create' });
      const sequence = await world.worker.sequence(0);
      sequence.tokens('Hel');
      await client.event('response.output_text.delta');
      client.socket.terminate();
      await until(() => sequence.cancelled);
      await until(() => world.gateway.context.running.size === 0);
      const metrics = await world.gateway.context.telemetry.metrics.metrics();
      expect(metrics).to.match(/requests_total\{[^}]*endpoint="realtime"[^}]*error_type="cancelled"[^}]*\} 1/);
    });

    it('that fails, saying why', async () => {
      await using world = await realtimeWorld();
      const client = await world.connect();
      client.say('Hi');
      client.send({ type: 'response.create' });
      const sequence = await world.worker.sequence(0);
      sequence.fail('engine_failed', 'out of cells', false);
      const response = await done(client);
      expect(response.status).to.equal('failed');
      expect(response.status_details?.error?.code).to.equal('engine_failed');
    });

    it('on another worker when its own is lost', async () => {
      await using world = await realtimeWorld();
      const other = new ScriptedWorker();
      const client = await world.connect();
      client.say('Hi');
      client.send({ type: 'response.create' });
      const sequence = await world.worker.sequence(0);
      world.gateway.addWorker(2n, other);
      sequence.tokens('Hel');
      await client.event('response.output_text.delta');
      sequence.lose();
      const next = await other.sequence(0);
      next.tokens('lo');
      next.finish();
      const response = await done(client);
      expect(response.status).to.equal('completed');
      expect(textOf(response)).to.equal('Hello');
      expect(response.output).to.have.length(1);
    });

    it('before another begins, except beside the conversation', async () => {
      await using world = await realtimeWorld({ realtimeResponses: 2 });
      const client = await world.connect();
      client.say('Hi');
      client.send({ type: 'response.create' });
      client.send({ type: 'response.create', event_id: 'second' });
      expect(await client.error()).to.include({
        code: 'conversation_already_has_active_response',
        event_id: 'second',
      });
      client.send({ type: 'response.create', response: { conversation: 'none' } });
      client.send({ type: 'response.create', response: { conversation: 'none' } });
      expect(await client.error(1)).to.include({ code: 'overloaded' });
      await world.worker.sequence(1);
    });
  });

  describe('calls functions', () => {
    const tools = [{ type: 'function', name: 'weather', parameters: { type: 'object' } }];

    it('never where the model has no parser for calls', async () => {
      await using world = await realtimeWorld();
      const client = await world.connect();
      client.send({ type: 'session.update', session: { tools } });
      client.say('Hi');
      client.send({ type: 'response.create' });
      expect(await client.error()).to.include({ code: 'unsupported', param: 'tools' });
      client.send({ type: 'response.create', response: { tool_choice: 'none' } });
      await world.worker.sequence(0);
    });

    it('in items of their own, and goes on with their results', async () => {
      await using world = await realtimeWorld();
      const worker = new ScriptedWorker(answering(hermesCall('weather', { city: 'Oslo' })));
      world.gateway.addWorker(2n, worker, toolCard({ name: 'caller', aliases: [] }));
      const client = await world.connect({ query: '' });
      client.send({ type: 'response.create' });
      expect(await client.error()).to.include({ code: 'invalid_argument', param: 'session.model' });
      client.send({ type: 'session.update', session: { model: 'caller', tools } });
      await client.event('session.updated');
      client.say('Hi');
      client.send({ type: 'response.create' });
      const called = fields((await done(client)).output.at(-1));
      expect(called).to.include({ type: 'function_call', name: 'weather', status: 'completed' });
      expect(JSON.parse(String(called['arguments']))).to.deep.equal({ city: 'Oslo' });
      const deltas = client.of('response.function_call_arguments.delta');
      expect(deltas.map(({ delta }) => delta).join('')).to.equal(called['arguments']);
      const ended = await client.event('response.function_call_arguments.done');
      expect(ended).to.include({ call_id: called['call_id'], name: 'weather', arguments: called['arguments'] });
      worker.script = answering('Rain.');
      const item = { type: 'function_call_output', call_id: called['call_id'], output: '{"sky":"grey"}' };
      client.send({ type: 'conversation.item.create', item });
      client.send({ type: 'response.create' });
      expect(textOf(await done(client, 1))).to.equal('Rain.');
    });
  });
});
