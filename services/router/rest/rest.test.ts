import { expect } from 'chai';
import { RouterService as RouterRpc } from '#gen/stator/router/v1/router_pb.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { routerSettings } from '../config.ts';
import { type RouterService, startRouter } from '../service.ts';
import { parseExactJson } from './exact-json.ts';

interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

describe('REST interface of the router', () => {
  let router: RouterService;
  let close: () => Promise<void>;

  beforeEach(async () => {
    const telemetry = quietTelemetry();
    const discovery = await openDiscovery('memory:', { namespace: 'rest', ttlSeconds: 5, telemetry });
    const config = defaultSettings(routerSettings, {
      internalToken: 'secret',
      maxAddedWorkers: 2,
      restBodyLimitMib: 1,
    });
    const shutdown = new AbortController();
    router = await startRouter(config, { telemetry, discovery, shutdown: shutdown.signal, instanceId: 99n });
    close = async () => {
      await router.stop();
      await discovery.close();
    };
  });

  afterEach(() => close());

  async function call(method: string, path: string, body?: string, token = 'secret'): Promise<Answer> {
    const response = await fetch(`http://${router.address}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}` },
      ...(body === undefined ? {} : { body }),
    });
    return { status: response.status, body: parseExactJson(await response.text()) as Record<string, unknown> };
  }

  const worker = (id: string, more = ''): string =>
    `{"worker_id":${id},"model_name":"m","endpoint":"http://w","block_size":16${more}}`;
  const prompt = '"model_name":"m","sequence_hashes":[21,-22,18446744073709551615],"isl_tokens":56';

  it('registers, changes, lists and removes workers, with every bit of their identifiers', async () => {
    expect((await call('GET', '/ready')).status).to.equal(503);
    expect((await call('POST', '/workers', worker('18446744073709551615'))).status).to.equal(201);
    expect((await call('GET', '/ready')).status).to.equal(200);
    const patched = await call('PATCH', '/workers/18446744073709551615', '{"data_parallel_size":2}');
    expect(patched.body).to.include({ worker_id: 18446744073709551615n, data_parallel_size: 2, endpoint: 'http://w' });
    const { body } = await call('GET', '/loads?model_name=m');
    expect(body['loads']).to.have.length(2);
    expect((await call('DELETE', '/workers/18446744073709551615')).status).to.equal(200);
    expect((await call('DELETE', '/workers/18446744073709551615')).status).to.equal(404);
    expect((await call('GET', '/workers')).body).to.deep.equal({ workers: [] });
  });

  it('chooses without and with a reservation, whose life it follows', async () => {
    await call('POST', '/workers', worker('7'));
    const selected = await call('POST', '/select', `{${prompt}}`);
    expect(selected.body).to.deep.include({ worker_id: 7, dp_rank: 0, endpoint: 'http://w', block_size: 16 });
    expect(selected.body).to.deep.include({ effective_prefill_tokens: 56 });
    const active = async (): Promise<unknown> => ((await call('GET', '/loads')).body['loads'] as unknown[])[0];
    expect(await active()).to.include({ active_requests: 0 });
    const reserved = await call('POST', '/select_and_reserve', `{"selection_id":"a b",${prompt}}`);
    expect(reserved.body).to.include({ selection_id: 'a b' });
    expect(await active()).to.include({ active_requests: 1, active_prefill_tokens: 56, active_decode_blocks: 4 });
    expect((await call('POST', '/reservations/a%20b/prefill_complete')).status).to.equal(200);
    expect((await call('POST', '/reservations/a%20b/output_block', '{"output_tokens":16}')).status).to.equal(200);
    expect(await active()).to.include({ active_requests: 1, active_prefill_tokens: 0 });
    expect((await call('DELETE', '/reservations/a%20b')).status).to.equal(200);
    expect((await call('DELETE', '/reservations/a%20b')).status).to.equal(404);
    expect((await call('POST', '/reservations', `{${prompt},"worker_id":7}`)).status).to.equal(201);
    expect(await active()).to.include({ active_requests: 1 });
    const potential = await call('POST', '/potential_loads', `{${prompt}}`);
    // Three of its blocks were routed there before: 8 tokens are left, of this request and of the one in flight.
    expect((potential.body['loads'] as unknown[])[0]).to.include({ worker_id: 7, potential_prefill_tokens: 16 });
    const scores = await call('POST', '/overlap_scores', `{${prompt}}`);
    expect((scores.body['scores'] as unknown[])[0]).to.include({ worker_id: 7, longest_matched: 48 });
  });

  it('says precisely what is wrong', async () => {
    const refusals: [string, string, string | undefined, number, string][] = [
      ['POST', '/workers', '{"worker_id":-1,"block_size":16}', 400, 'worker_id'],
      ['POST', '/workers', '{"worker_id":1}', 400, 'block_size'],
      ['POST', '/workers', worker('1', ',"blok":2'), 400, 'blok'],
      ['POST', '/workers', '{"worker_id":', 400, ''],
      ['POST', '/select', '{"model_name":"none","token_ids":[1]}', 404, 'model_name'],
      ['PATCH', '/workers/1', '{}', 404, 'worker_id'],
      ['POST', '/query', '{"model_name":"none","token_ids":[1]}', 404, 'model'],
      ['GET', '/select', undefined, 405, ''],
      ['POST', '/workers', `{"worker_id":1,"x":"${'a'.repeat(1 << 21)}"}`, 413, ''],
    ];
    for (const [method, path, body, status, field] of refusals) {
      const answer = await call(method, path, body);
      expect(answer.status, `${method} ${path}`).to.equal(status);
      if (field !== '') expect(answer.body['error'], `${method} ${path}`).to.include({ field });
    }
    await call('POST', '/workers', worker('1'));
    await call('POST', '/workers', worker('2'));
    expect((await call('POST', '/workers', worker('3'))).status).to.equal(529);
    expect((await call('POST', '/select', '{"model_name":"m"}')).body['error']).to.include({ field: 'token_ids' });
  });

  it('lets workers in again after gRPC has removed as many, and keeps nothing of those', async () => {
    const rpc = createRpcClient(RouterRpc, { address: router.address, internalToken: 'secret' }, quietTelemetry());
    try {
      for (const id of ['1', '2']) await call('POST', '/workers', worker(id, ',"total_kv_blocks":9'));
      for (const instanceId of [1n, 2n]) expect((await rpc.client.removeWorker({ instanceId })).found).to.equal(true);
      expect((await call('PATCH', '/workers/1', '{}')).status).to.equal(404);
      for (const id of ['2', '3']) expect((await call('POST', '/workers', worker(id))).status).to.equal(201);
      const patched = await call('PATCH', '/workers/2', '{}');
      expect(patched.body).to.include({ worker_id: 2, total_kv_blocks: 0 });
    } finally {
      rpc.close();
    }
  });

  it('lets nobody in without the token, and leaves other pages to the port', async () => {
    expect((await call('GET', '/workers', undefined, 'wrong')).status).to.equal(401);
    expect((await fetch(`http://${router.address}//`)).status).to.equal(404);
    const headers = { authorization: 'Bearer secret' };
    const response = await fetch(`http://${router.address}/metrics`, { headers });
    expect(await response.text()).to.include('stator_router_reservations');
  });
});
