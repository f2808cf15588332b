import { expect } from 'chai';
import { startHarness } from './testing/harness.ts';
import { answering, ScriptedWorker } from './testing/scripted-worker.ts';

const chat = { model: 'test-model', messages: [{ role: 'user', content: 'Hi' }] };

async function eventsOf(response: Response): Promise<string[]> {
  const text = await response.text();
  return text.split('\n\n').filter((event) => event !== '');
}

describe('gateway over REST', () => {
  it('answers a chat', async () => {
    await using gateway = await startHarness();
    gateway.addWorker(1n, new ScriptedWorker(answering('Hello "wörld"\n')));
    const response = await gateway.post('/v1/chat/completions', chat);
    const body = (await response.json()) as { choices: { message: { content: string } }[] };
    expect(response.status, JSON.stringify(body)).to.equal(200);
    expect(body.choices[0]?.message.content).to.equal('Hello "wörld"\n');
  });

  it('streams a chat', async () => {
    await using gateway = await startHarness();
    gateway.addWorker(1n, new ScriptedWorker(answering('Hello "wörld"\n')));
    const response = await gateway.post('/v1/chat/completions', { ...chat, stream: true });
    expect(response.status).to.equal(200);
    const events = await eventsOf(response);
    expect(events.at(-1)).to.equal('data: [DONE]');
    const text = events
      .slice(0, -1)
      .map((event) => JSON.parse(event.slice('data: '.length)) as { choices: { delta: { content?: string } }[] })
      .map((chunk) => chunk.choices[0]?.delta.content ?? '')
      .join('');
    expect(text).to.equal('Hello "wörld"\n');
  });
});
