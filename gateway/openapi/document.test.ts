import { expect } from 'chai';
import { routes } from '../api/routes.ts';
import { type Harness, startHarness } from '../testing/harness.ts';
import { answering, ScriptedWorker } from '../testing/scripted-worker.ts';
import { buildOpenApi } from './document.ts';

interface Operation {
  readonly operationId: string;
  readonly responses: object;
  readonly parameters?: { readonly name: string; readonly in: string; readonly description?: string }[];
}

interface Document {
  readonly openapi: string;
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: { readonly schemas: Record<string, { properties?: object }> };
}

function references(value: unknown, found: string[] = []): string[] {
  if (Array.isArray(value)) for (const inner of value) references(inner, found);
  else if (typeof value === 'object' && value !== null) {
    for (const [key, inner] of Object.entries(value)) {
      if (key === '$ref' && typeof inner === 'string') found.push(inner);
      else references(inner, found);
    }
  }
  return found;
}

describe('OpenAPI document', () => {
  const document = buildOpenApi() as Document;

  it('has every route, each with its own operation', () => {
    const served = Object.entries(routes).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path.replace('...}', '}')}`),
    );
    const described = Object.entries(document.paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
    );
    // Readiness is a question to the model's own path; the page's parts are no API.
    const undescribed = ['/docs/', '/docs/{asset}', '/console', '/console/', '/console/state', '/console/{asset}'].map(
      (path) => `GET ${path}`,
    );
    expect(described.filter((path) => path !== 'GET /v1/models/{id}/ready').sort()).to.deep.equal(
      served.filter((path) => !undescribed.includes(path)).sort(),
    );
    const ids = Object.values(document.paths).flatMap((path) =>
      Object.values(path).map((operation) => operation.operationId),
    );
    expect(new Set(ids).size).to.equal(ids.length);
  });

  it('refers only to schemas that it has', () => {
    expect(document.openapi).to.match(/^3\.1\./);
    const missing = references(document).filter((reference) => {
      const name = /^#\/components\/schemas\/(\w+)$/.exec(reference)?.[1];
      return name === undefined || !(name in document.components.schemas);
    });
    expect(missing).to.deep.equal([]);
  });

  it('describes the fields that requests are checked against', () => {
    const fields = Object.keys(document.components.schemas['ChatCompletionRequest']?.properties ?? {});
    expect(fields).to.include.members([
      'messages',
      'temperature',
      'logit_bias',
      'nvext',
      'ignore_eos',
      'max_completion_tokens',
    ]);
    expect(fields).to.not.include('audio');
  });

  it('describes the headers that routing reads', () => {
    const { parameters = [] } = document.paths['/v1/chat/completions']?.['post'] ?? {};
    const named = parameters.filter((parameter) => parameter.in === 'header');
    expect(named.map(({ name }) => name)).to.include.members(['x-stator-worker-instance-id', 'x-stator-timeout-ms']);
    expect(named.find(({ name }) => name === 'x-stator-dp-rank')?.description).to.include('`x-data-parallel-rank`');
    expect(document.paths['/v1/models']?.['get']?.parameters).to.equal(undefined);
  });

  describe('against the gateway', () => {
    let gateway: Harness;

    before(async () => {
      gateway = await startHarness();
      gateway.addWorker(1n, new ScriptedWorker(answering('ok')));
    });

    after(async () => {
      await gateway[Symbol.asyncDispose]();
    });

    for (const [path, operations] of Object.entries(document.paths)) {
      for (const method of Object.keys(operations)) {
        it(`${method.toUpperCase()} ${path} is served`, async () => {
          const url = `${gateway.url}${path.replace('{id}', 'test-model')}`;
          const response = await fetch(url, { method: method.toUpperCase() });
          expect(await response.text()).to.not.contain('Route not found');
          expect(response.status).to.not.be.oneOf([405, 500]);
        });
      }
    }

    it('is what /openapi.json answers', async () => {
      const response = await fetch(`${gateway.url}/openapi.json`);
      expect(await response.json()).to.deep.equal(JSON.parse(JSON.stringify(document)));
    });
  });
});
