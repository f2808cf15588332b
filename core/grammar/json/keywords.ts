import { GrammarError } from '../error.ts';

/** Keywords that say nothing about what is valid. */
const annotations: ReadonlySet<string> = new Set([
  '$schema',
  '$id',
  '$comment',
  '$defs',
  '$vocabulary',
  'definitions',
  'title',
  'description',
  'default',
  'example',
  'examples',
  'deprecated',
  'readOnly',
  'writeOnly',
  'contentMediaType',
  'contentEncoding',
  'contentSchema',
  'discriminator',
  'externalDocs',
  'xml',
]);

/** Keywords about values of one type. */
export const typeKeywords: Readonly<Record<'object' | 'array' | 'string' | 'number', readonly string[]>> = {
  object: [
    'properties',
    'required',
    'additionalProperties',
    'patternProperties',
    'propertyNames',
    'minProperties',
    'maxProperties',
    'unevaluatedProperties',
  ],
  array: ['items', 'prefixItems', 'minItems', 'maxItems', 'uniqueItems', 'unevaluatedItems'],
  string: ['minLength', 'maxLength', 'pattern', 'format'],
  number: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'],
};

const others = ['type', 'enum', 'const', 'allOf', 'anyOf', 'oneOf', 'not', '$ref', 'nullable'];
const known: ReadonlySet<string> = new Set([...others, ...Object.values(typeKeywords).flat()]);

/** Whether a keyword may change what is valid. */
export function constrains(keyword: string): boolean {
  return !annotations.has(keyword) && !keyword.startsWith('x-');
}

/** Refuses a schema with a keyword that would have to be ignored. */
export function checkKeywords(schema: Readonly<Record<string, unknown>>, at: string): void {
  for (const keyword of Object.keys(schema)) {
    if (!constrains(keyword) || known.has(keyword)) continue;
    throw new GrammarError(
      'unsupported',
      `${at}/${keyword}`,
      `The keyword ${JSON.stringify(keyword)} at ${at} is not supported.`,
    );
  }
}

/** A name as part of a JSON pointer. */
export function pointerPart(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1');
}
