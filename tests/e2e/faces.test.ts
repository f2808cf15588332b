import { once } from 'node:events';
import type { Client } from '@connectrpc/connect';
import { expect } from 'chai';
import { WebSocket } from 'ws';
import { GRPCInferenceService } from '#gen/inference/kserve_pb.ts';
import { createRpcClient, type RpcClient } from '#lib/rpc/client.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { post } from '../support/http.ts';
import { until } from '../support/until.ts';

interface Event {
  readonly type: string;
  readonly delta?: string;
  readonly response?: { readonly status: string; readonly usage: { readonly output_tokens: number } };
}

const prompt = 'Once upon a time';
const maxTokens = 24;

function textInput(text: string) {
  return { name: 'text_input', datatype: 'BYTES', shape: [1n], contents: { bytesContents: [Buffer.from(text)] } };
}

const asked = {
  modelName: 'm',
  parameters: {
    max_tokens: { parameterChoice: { case: 'int64Param', value: BigInt(maxTokens) } },
    temperature: { parameterChoice: { case: 'doubleParam', value: 0 } },
  },
} as const;

describe('further faces of the gateway', function () {
  this.timeout(60_000);
  let cluster: Cluster;
  let rpc: RpcClient<typeof GRPCInferenceService>;
  let kserve: Client<typeof GRPCInferenceService>;

  before(async () => {
    const worker = { engine: 'mocker', settings: { model: 'm', stepMs: 2 } } as const;
    cluster = await startCluster({ workers: [worker, worker], gateway: { shutdownGraceSeconds: 20 } });
    rpc = createRpcClient(GRPCInferenceService, { address: cluster.member('gateway').address }, quietTelemetry());
    kserve = rpc.client;
  });
  after(async () => {
    rpc?.close();
    await cluster?.stop();
  });

  async function completion(): Promise<string> {
    const body = { model: 'm', prompt, max_tokens: maxTokens, temperature: 0 };
    const { status, text } = await post(`${cluster.url}/v1/completions`, JSON.stringify(body));
    expect(status).to.equal(200);
    return (JSON.parse(text) as { choices: [{ text: string }] }).choices[0].text;
  }

  async function chat(): Promise<string> {
    const messages = [{ role: 'user', content: prompt }];
    const body = { model: 'm', messages, max_tokens: maxTokens, temperature: 0 };
    const { text } = await post(`${cluster.url}/v1/chat/completions`, JSON.stringify(body));
    return (JSON.parse(text) as { choices: [{ message: { content: string } }] }).choices[0].message.content;
  }

  /** A conversation whose events are kept. */
  async function converse(): Promise<{ socket: WebSocket; events: Event[]; send(event: object): void }> {
    const socket = new WebSocket(`${cluster.url.replace('http', 'ws')}/v1/realtime?model=m`);
    const events: Event[] = [];
    socket.on('message', (data) => events.push(JSON.parse(String(data)) as Event));
    await once(socket, 'open');
    return { socket, events, send: (event) => socket.send(JSON.stringify(event)) };
  }

  const said = { type: 'message', role: 'user', content: [{ type: 'input_text', text: prompt }] };

  it('say by tensors what REST says', async () => {
    expect((await kserve.serverReady({})).ready).to.equal(true);
    const { outputs } = await kserve.modelInfer({ ...asked, inputs: [textInput(prompt)] });
    const [text, reason] = outputs.map(({ contents }) => String(Buffer.from(contents?.bytesContents[0] ?? [])));
    expect(text).to.equal(await completion());
    expect(reason).to.equal('length');
  });

  it('say the same in a stream', async () => {
    const streaming = { name: 'streaming', datatype: 'BOOL', shape: [1n], contents: { boolContents: [true] } };
    async function* requests() {
      for (const id of ['a', 'b']) yield { ...asked, id, inputs: [textInput(prompt), streaming] };
    }
    const texts: Record<string, string> = { a: '', b: '' };
    for await (const { inferResponse, errorMessage } of kserve.modelStreamInfer(requests())) {
      expect(errorMessage).to.equal('');
      const bytes = inferResponse?.outputs[0]?.contents?.bytesContents[0] ?? new Uint8Array();
      texts[inferResponse?.id ?? ''] += Buffer.from(bytes).toString();
    }
    const text = await completion();
    expect(texts).to.deep.equal({ a: text, b: text });
  });

  it('say over WebSocket what REST says', async () => {
    const { socket, events, send } = await converse();
    send({ type: 'session.update', session: { temperature: 0, max_output_tokens: maxTokens } });
    send({ type: 'conversation.item.create', item: said });
    send({ type: 'response.create' });
    const done = await until('the response ends', () => events.find(({ type }) => type === 'response.done'));
    expect(done.response?.status).to.equal('incomplete');
    expect(done.response?.usage.output_tokens).to.equal(maxTokens);
    const deltas = events.filter(({ type }) => type === 'response.output_text.delta');
    expect(deltas.map(({ delta }) => delta).join('')).to.equal(await chat());
    socket.close();
  });

  it('end with the gateway, after what they are saying', async () => {
    const idle = await converse();
    const busy = await converse();
    const closed = [idle, busy].map(({ socket }) => once(socket, 'close'));
    busy.send({ type: 'session.update', session: { max_output_tokens: 400 } });
    busy.send({ type: 'conversation.item.create', item: said });
    busy.send({ type: 'response.create' });
    await until('the response begins', () => busy.events.some(({ type }) => type === 'response.output_text.delta'));
    const stopped = cluster.member('gateway').stop();
    const codes = await Promise.all(closed);
    expect(codes.map(([code]) => code as number)).to.deep.equal([1001, 1001]);
    expect(busy.events.at(-1)).to.have.nested.property('response.status').that.is.oneOf(['incomplete', 'completed']);
    await stopped;
  });
});
