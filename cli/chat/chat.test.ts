import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import { runStator } from '../stator.test-support.ts';
import { ChatClient } from './chat-client.ts';
import { Conversation } from './conversation.ts';

interface Asked {
  readonly model: string;
  readonly messages: readonly { readonly role: string; readonly content: string }[];
  readonly temperature?: number;
}

/** A gateway of one model that repeats what was said, a word an event, cut across packets. */
async function startEcho(asked: Asked[]): Promise<{ url: string; server: Server }> {
  const server = createServer(async (request, response) => {
    if (request.url === '/v1/models') {
      response.setHeader('content-type', 'application/json').end(JSON.stringify({ data: [{ id: 'echo' }] }));
      return;
    }
    let text = '';
    for await (const chunk of request) text += chunk;
    const body = JSON.parse(text) as Asked;
    asked.push(body);
    if (body.model !== 'echo') {
      response.writeHead(404).end(JSON.stringify({ error: { message: `there is no ${body.model}` } }));
      return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const word of (body.messages.at(-1)?.content ?? '').split(/(?<= )/)) {
      const event = `data: ${JSON.stringify({ choices: [{ delta: { content: word } }] })}\n\n`;
      response.write(event.slice(0, 9));
      response.write(event.slice(9));
    }
    response.end('data: [DONE]\n\n');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

describe('stator chat', function () {
  this.timeout(180_000);
  let asked: Asked[];
  let echo: { url: string; server: Server };
  beforeEach(async () => {
    asked = [];
    echo = await startEcho(asked);
  });
  afterEach(() => {
    echo.server.closeAllConnections();
    echo.server.close();
  });

  it('answers a message and ends', async () => {
    const run = await runStator([
      'chat',
      '--url',
      echo.url,
      '-m',
      'grüße an alle',
      '-s',
      'be brief',
      '--temperature',
      '0',
    ]);
    expect(run).to.deep.include({ code: 0, stdout: 'grüße an alle\n' });
    expect(asked[0]).to.deep.include({ model: 'echo', temperature: 0 });
    expect(asked[0]?.messages[0]).to.deep.equal({ role: 'system', content: 'be brief' });
  });

  it('answers what is piped in', async () => {
    expect(await runStator(['chat', '--url', echo.url], { input: 'one two' })).to.deep.include({
      code: 0,
      stdout: 'one two\n',
    });
    const empty = await runStator(['chat', '--url', echo.url], { input: '' });
    expect(empty.code).to.equal(2);
    expect(empty.stderr).to.include('nothing to say');
  });

  it("passes on the gateway's own words when it refuses, with code 1", async () => {
    const run = await runStator(['chat', '--url', echo.url, '--model', 'other', '-m', 'x']);
    expect(run.code).to.equal(1);
    expect(run.stderr).to.include('there is no other');
  });

  it('says how to start a gateway where none answers', async () => {
    const run = await runStator(['chat', '--url', 'http://127.0.0.1:1', '-m', 'x']);
    expect(run.code).to.equal(1);
    expect(run.stderr).to.include('stator up');
  });

  it('remembers what was said, forgets on request, and takes back what was never answered', async () => {
    const conversation = new Conversation(new ChatClient({ url: echo.url }), 'echo', undefined);
    const { signal } = new AbortController();
    const ignore = (): void => {};
    await conversation.say('first', ignore, signal);
    await conversation.say('second', ignore, signal);
    expect(asked[1]?.messages.map(({ role, content }) => `${role}: ${content}`)).to.deep.equal([
      'user: first',
      'assistant: first',
      'user: second',
    ]);
    conversation.model = 'other';
    await conversation.say('third', ignore, signal).catch(ignore);
    conversation.model = 'echo';
    await conversation.say('fourth', ignore, signal);
    expect(asked[3]?.messages.map(({ content }) => content)).to.deep.equal([
      'first',
      'first',
      'second',
      'second',
      'fourth',
    ]);
    conversation.reset();
    conversation.setSystem('brief');
    await conversation.say('fifth', ignore, signal);
    expect(asked[4]?.messages.map(({ content }) => content)).to.deep.equal(['brief', 'fifth']);
  });
});
