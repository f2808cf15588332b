import { z } from 'zod';

/** The components of a document that schemas refer to, by their identifiers. */
export class SchemaComponents {
  readonly schemas: Record<string, unknown> = {};

  /** A reference to a schema's component, which is added with everything it refers to; the schema itself where it has no name. */
  refer(schema: z.ZodType): object {
    const json = z.toJSONSchema(schema, { target: 'draft-2020-12', io: 'input', unrepresentable: 'any' });
    const { $schema: _, $defs: definitions, ...rest } = json;
    const id = schema.meta()?.id;
    for (const [name, definition] of Object.entries(definitions ?? {})) this.schemas[name] = relocate(definition);
    if (typeof id !== 'string' || '$ref' in rest) return relocate(rest) as object;
    this.schemas[id] = relocate(rest);
    return { $ref: `#/components/schemas/${id}` };
  }
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
