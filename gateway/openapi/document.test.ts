import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect } from 'chai';
import { routes } from '../api/routes.ts';
import { type Harness, startHarness } from '../testing/harness.ts';
import { answering, ScriptedWorker } from '../testing/scripted-worker.ts';
import { buildOpenApi } from './document.ts';
import { routeDocs } from './routes.ts';

interface Operation {
  readonly operationId: string;
  readonly security: readonly object[];
  readonly responses: Record<string, { readonly content?: Record<string, { readonly schema: object }> }>;
  readonly parameters?: { readonly name: string; readonly in: string; readonly description?: string }[];
}

interface Document {
  readonly openapi: string;
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: Record<string, Record<string, unknown>> & {
    readonly schemas: Record<string, { properties?: object }>;
  };
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

  it('is an OpenAPI 3.1 document', async () => {
    const validator = new Validator();
    const { valid, errors } = await validator.validate(JSON.parse(JSON.stringify(document)));
    expect(errors).to.equal(undefined);
    expect(valid).to.equal(true);
    expect(validator.version).to.equal('3.1');
  });

  it('has JSON Schemas that say what they mean', () => {
    const ajv = new Ajv2020({ strict: true, allowUnionTypes: true, validateFormats: false });
    ajv.addKeyword('components');
    ajv.addSchema({ $id: 'document:', components: document.components });
    for (const name of Object.keys(document.components.schemas))
      expect(() => ajv.compile({ $ref: `document:#/components/schemas/${name}` }), name).to.not.throw();
  });

  it('refers only to components that it has', () => {
    const missing = references(document).filter((reference) => {
      const [, kind = '', name = ''] = /^#\/components\/(\w+)\/(\w+)$/.exec(reference) ?? [];
      return document.components[kind]?.[name] === undefined;
    });
    expect(missing).to.deep.equal([]);
  });

  it('says who may ask, and describes every refusal', () => {
    for (const { path, method, access = 'plain', refusals } of routeDocs) {
      const served = routes[path] ?? routes[path.replace('{id}', '{id...}')] ?? routes['/v1/models/{id...}'];
      const kind = served?.[method.toUpperCase() as 'GET']?.kind ?? '';
      expect(kind === 'inference' ? 'plain' : kind, path).to.equal(access);
      const responses = Object.entries(document.paths[path]?.[method]?.responses ?? {});
      const refused = responses.filter(([status]) => Number(status) >= 400);
      if (refusals.length > 0) expect(refused, path).to.not.be.empty;
      for (const [status, { content }] of refused)
        expect(content?.['application/json']?.schema, `${path} ${status}`).to.be.an('object');
      if (access === 'plain') expect(refused.map(([status]) => status)).to.include.members(['401', '500']);
    }
  });

  it('asks for keys where the gateway does', () => {
    const securityOf = (keys: boolean, path: string): readonly object[] | undefined => {
      const { paths } = buildOpenApi({ keys, internalToken: true }) as Document;
      return paths[path]?.['get']?.security;
    };
    expect(securityOf(false, '/v1/models')).to.deep.equal([{}, { bearer: [] }, { apiKey: [] }]);
    expect(securityOf(true, '/v1/models')).to.deep.equal([{ bearer: [] }, { apiKey: [] }]);
    expect(securityOf(true, '/busy_threshold')).to.deep.equal([{ internalToken: [] }]);
    expect(securityOf(true, '/live')).to.deep.equal([{}]);
    const named = Object.keys(document.components['securitySchemes'] ?? {});
    expect(named).to.deep.equal(['bearer', 'apiKey', 'internalToken']);
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
    const ofModels = document.paths['/v1/models']?.['get']?.parameters ?? [];
    expect(ofModels.map(({ name }) => name)).to.not.include('x-stator-dp-rank');
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
