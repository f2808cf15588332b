import { answersOf, headerComponents } from './answers.ts';
import { routingHeaders } from './headers.ts';
import type { Parameter, RouteDoc } from './route-doc.ts';
import { routeDocs } from './routes.ts';
import { SchemaComponents } from './schemas.ts';

/** What the gateway asks of its callers. */
export interface AccessFacts {
  /** Whether callers need keys. */
  readonly keys: boolean;
  /** Whether administrators need the internal token; otherwise they call from the same machine. */
  readonly internalToken: boolean;
}

const securitySchemes = {
  bearer: { type: 'http', scheme: 'bearer', description: 'An API key, or a token of the OpenID Connect provider.' },
  apiKey: { type: 'apiKey', in: 'header', name: 'x-api-key', description: "The same, as Anthropic's clients send it." },
  internalToken: { type: 'http', scheme: 'bearer', description: 'The internal token, of administrators.' },
};

/** The OpenAPI 3.1 description of the REST API, from the same schemas that requests are checked against. */
export function buildOpenApi(facts: AccessFacts = { keys: false, internalToken: false }): object {
  const components = new SchemaComponents();
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routeDocs) {
    const operation = operationOf(route, components, facts);
    paths[route.path] = { ...paths[route.path], [route.method]: operation };
    for (const [number, alias] of (route.aliases ?? []).entries()) {
      const operationId = `${route.operationId}Alias${number + 1}`;
      paths[alias] = { ...paths[alias], [route.method]: { ...operation, operationId } };
    }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Stator',
      version: '1',
      description: "Inference in OpenAI's API, with sampling and routing extensions.",
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    paths,
    components: { schemas: components.schemas, headers: headerComponents, securitySchemes },
  };
}

function operationOf(route: RouteDoc, components: SchemaComponents, facts: AccessFacts): object {
  const parameters: object[] = [...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string', minLength: 1 },
  }));
  parameters.push(...(route.parameters ?? []).map(optional));
  if (route.routed) parameters.push(...routingHeaders());
  const { body, bodyMedia = 'application/json' } = route;
  return {
    operationId: route.operationId,
    summary: route.summary,
    security: securityOf(route, facts),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === null
      ? {}
      : { requestBody: { required: true, content: { [bodyMedia]: { schema: components.refer(body) } } } }),
    responses: answersOf(route, components),
  };
}

function optional({ name, description, schema, ...rest }: Parameter): object {
  return { name, in: rest.in, required: false, description, schema };
}

/** Alternatives; an empty one: nothing is needed. */
function securityOf({ access }: RouteDoc, facts: AccessFacts): object[] {
  if (access === 'admin') return facts.internalToken ? [{ internalToken: [] }] : [{}];
  if (access === 'open') return [{}];
  const known = [{ bearer: [] }, { apiKey: [] }];
  return facts.keys ? known : [{}, ...known];
}
