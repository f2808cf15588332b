import { expect } from 'chai';
import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayConfig } from './config.ts';
import { startHarness } from './testing/harness.ts';
import { ScriptedRouter } from './testing/scripted-router.ts';
import { ScriptedWorker } from './testing/scripted-worker.ts';

/** A router that refuses everything for one reason. */
class RefusingRouter extends ScriptedRouter {
  readonly #error: StatorError;

  constructor(error: StatorError) {
    super([]);
    this.#error = error;
  }

  override async route(): Promise<never> {
    throw this.#error;
  }
}

interface Refusal {
  readonly status: number;
  readonly retryAfter: string | null;
  readonly error: { code: string; type: string; param: string | null; message: string; details?: unknown };
}

async function refusedWith(error: StatorError, config: Partial<GatewayConfig> = {}, stream = false): Promise<Refusal> {
  await using gateway = await startHarness(config, new RefusingRouter(error));
  gateway.addWorker(1n, new ScriptedWorker());
  const body = { model: 'test-model', messages: [{ role: 'user', content: 'Hi' }], stream };
  const response = await gateway.post('/v1/chat/completions', body);
  const answer = (await response.json()) as Pick<Refusal, 'error'>;
  return { status: response.status, retryAfter: response.headers.get('retry-after'), ...answer };
}

describe("the router's refusals", () => {
  const facts = { queue: 'requests', class: 'batch', limit: 8, actual: 8 };
  const full = new StatorError('overloaded', 'The queue is full.', { retryAfterMs: 2500, facts });

  it('show their facts and when to try again', async () => {
    for (const stream of [false, true]) {
      const { status, retryAfter, error } = await refusedWith(full, {}, stream);
      expect([status, retryAfter]).to.deep.equal([529, '3']);
      expect(error).to.deep.include({ code: 'overloaded', type: 'overloaded_error', details: facts });
    }
  });

  it('have the status that the gateway is set to, for overload only', async () => {
    for (const overloadStatus of ['503', '429', '529'] as const) {
      const { status, retryAfter, error } = await refusedWith(full, { overloadStatus });
      expect([status, retryAfter, error.code]).to.deep.equal([Number(overloadStatus), '3', 'overloaded']);
      const late = new StatorError('queue_timeout', 'No worker was free.', { facts: { waited_ms: 5 } });
      expect(await refusedWith(late, { overloadStatus })).to.include({ status: 429 });
      const none = new StatorError('worker_unavailable', 'No worker is there.');
      expect(await refusedWith(none, { overloadStatus })).to.include({ status: 503 });
    }
  });

  it('name the field as the client knows it', async () => {
    const field = 'constraints.instance_id';
    const unknown = new StatorError('not_found', 'The worker does not serve the model.', { field, facts: { a: 1 } });
    const { status, error } = await refusedWith(unknown);
    expect(status).to.equal(404);
    expect(error).to.deep.include({ param: 'nvext.backend_instance_id', details: { a: 1 } });
    expect((await refusedWith(StatorError.invalid('session_id', 'too long'))).error.param).to.equal(
      'nvext.session_control.session_id',
    );
  });
});
