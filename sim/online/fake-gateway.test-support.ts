import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { json } from 'node:stream/consumers';

export interface AskedCompletion {
  readonly model: string;
  readonly prompt: readonly number[];
  readonly max_tokens: number;
  readonly ignore_eos: boolean;
  readonly nvext: { readonly extra_fields: readonly string[] };
}

/** Answers one completion. */
export type AnswerCompletion = (
  asked: AskedCompletion,
  res: ServerResponse,
  req: IncomingMessage,
) => void | Promise<void>;

export interface FakeGateway extends AsyncDisposable {
  readonly url: string;
  readonly asked: AskedCompletion[];
  readonly headers: IncomingMessage['headers'][];
  readonly paths: string[];
  /** Connections that were opened. */
  readonly connections: () => number;
  /** Most requests that were open at once. */
  readonly mostOpen: () => number;
}

/** A server of our own that answers as a gateway does, so that tests decide what the client sees. */
export async function startFakeGateway(answer: AnswerCompletion): Promise<FakeGateway> {
  const asked: AskedCompletion[] = [];
  const headers: IncomingMessage['headers'][] = [];
  const paths: string[] = [];
  const sockets = new Set<Socket>();
  let open = 0;
  let mostOpen = 0;
  const server = createServer((req, res) => {
    paths.push(req.url ?? '');
    if (req.url?.endsWith('/v1/models')) {
      res.setHeader('content-type', 'application/json');
      res.end(JSON.stringify({ object: 'list', data: [{ id: 'model-a' }, { id: 'model-b' }] }));
      return;
    }
    mostOpen = Math.max(mostOpen, ++open);
    res.on('close', () => open--);
    headers.push(req.headers);
    void json(req).then((body) => {
      asked.push(body as AskedCompletion);
      return answer(body as AskedCompletion, res, req);
    });
  });
  server.on('connection', (socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    headers,
    paths,
    connections: () => sockets.size,
    mostOpen: () => mostOpen,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Streams a whole answer at once: `tokens` tokens, of which `cached` of the prompt were cached. */
export function streamAnswer(asked: AskedCompletion, res: ServerResponse, worker: string, cached = 0): void {
  if (!res.headersSent) res.setHeader('content-type', 'text/event-stream');
  for (let token = 0; token < asked.max_tokens; token++)
    res.write(event({ choices: [{ text: 'a', finish_reason: null }] }));
  res.write(event({ choices: [{ text: '', finish_reason: 'length' }], nvext: { worker_id: workerIds(worker) } }));
  const usage = {
    prompt_tokens: asked.prompt.length,
    completion_tokens: asked.max_tokens,
    prompt_tokens_details: { cached_tokens: cached },
  };
  res.end(`${event({ choices: [], usage })}data: [DONE]\n\n`);
}

export function event(data: unknown): string {
  return `data: ${JSON.stringify(data)}\n\n`;
}

function workerIds(worker: string): object {
  return { prefill_worker_id: worker, prefill_dp_rank: 0, decode_worker_id: worker, decode_dp_rank: 0 };
}
