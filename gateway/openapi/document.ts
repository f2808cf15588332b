import { z } from 'zod';
import { routingHeaders } from './headers.ts';
import type { RouteDoc } from './route-doc.ts';
import { routeDocs, streamSchemas } from './routes.ts';

/** The OpenAPI 3.1 description of the REST API, from the same schemas that requests are checked against. */
export function buildOpenApi(): object {
  const schemas: Record<string, unknown> = {};
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routeDocs) {
    const operation = operationOf(route, schemas);
    paths[route.path] = { ...paths[route.path], [route.method]: operation };
    for (const [number, alias] of (route.aliases ?? []).entries()) {
      const operationId = `${route.operationId}Alias${number + 1}`;
      paths[alias] = { ...paths[alias], [route.method]: { ...operation, operationId } };
    }
  }
  for (const schema of streamSchemas) reference(schema, schemas);
  return {
    openapi: '3.1.0',
    info: {
      title: 'Stator',
      version: '1',
      description: "Inference in OpenAI's API, with sampling and routing extensions.",
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths,
    components: { schemas },
  };
}

function operationOf(route: RouteDoc, schemas: Record<string, unknown>): object {
  const parameters: object[] = [...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
  if (route.routed) parameters.push(...routingHeaders());
  const content = (media: string, schema: z.ZodType): object => ({ [media]: { schema: reference(schema, schemas) } });
  const responses: Record<string, unknown> = {};
  for (const answer of route.answers) {
    const body = answer.schema === null ? {} : { content: content(answer.media ?? 'application/json', answer.schema) };
    responses[answer.status] = { description: answer.description, ...body };
  }
  return {
    operationId: route.operationId,
    summary: route.summary,
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(route.body === null
      ? {}
      : { requestBody: { required: true, content: content(route.bodyMedia ?? 'application/json', route.body) } }),
    responses,
  };
}

/** A reference to a schema's component, which is added with everything it refers to. */
function reference(schema: z.ZodType, schemas: Record<string, unknown>): object {
  const json = z.toJSONSchema(schema, { target: 'draft-2020-12', io: 'input', unrepresentable: 'any' });
  const { $schema: _, $defs: definitions, ...rest } = json;
  const id = schema.meta()?.id;
  for (const [name, definition] of Object.entries(definitions ?? {})) schemas[name] = relocate(definition);
  if (typeof id !== 'string' || '$ref' in rest) return relocate(rest) as object;
  schemas[id] = relocate(rest);
  return { $ref: `#/components/schemas/${id}` };
}

/** The same schema with its references pointing into the document, and without the identifiers that served them. */
function relocate(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(relocate);
  if (typeof value !== 'object' || value === null) return value;
  const out: Record<string, unknown> = {};
  for (const [key, inner] of Object.entries(value)) {
    if (key === 'id' && typeof inner === 'string') continue;
    if (key === '$ref' && typeof inner === 'string') out[key] = inner.replace('#/$defs/', '#/components/schemas/');
    else out[key] = relocate(inner);
  }
  return out;
}
