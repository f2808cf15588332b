import type { Parameter } from './route-doc.ts';

function query(name: string, description: string, schema: object): Parameter {
  return { name, in: 'query', description, schema };
}

const cursor = { type: 'string' };

/** Parameters of a stored list: entries of a page unless the client says otherwise, and at most. */
export function pageParameters(limit: number, most: number): readonly Parameter[] {
  return [
    query('limit', 'Most entries of the page.', { type: 'integer', minimum: 1, maximum: most, default: limit }),
    query('after', 'Only what follows the entry with this id.', cursor),
    query('order', 'By the time of creation.', { type: 'string', enum: ['asc', 'desc'], default: 'desc' }),
  ];
}

export const purposeParameter = query('purpose', 'Only files of this purpose.', { type: 'string' });

/** The events of a response that was asked for with `background` and `stream`. */
export const storedStreamParameters: readonly Parameter[] = [
  query('stream', 'Whether its events are streamed.', { type: 'boolean', default: false }),
  query('starting_after', 'Number of the last event that came; only with `stream` = true.', {
    type: 'integer',
    minimum: 0,
    maximum: 999_999_999,
  }),
];

/** A page of models. */
export const modelPageParameters: readonly Parameter[] = [
  query('limit', "Most entries of the page. Default: in Anthropic's shape 20, otherwise all.", {
    type: 'integer',
    minimum: 1,
    maximum: 1000,
  }),
  query('after_id', 'Only models after this one.', cursor),
  query('before_id', 'Only models before this one.', cursor),
];

/** Whichever version: the answer has Anthropic's shape. */
export const anthropicShape: Parameter = {
  name: 'anthropic-version',
  in: 'header',
  description: "With it, the answer has Anthropic's shape.",
  schema: { type: 'string' },
};

export const anthropicVersion: Parameter = {
  name: 'anthropic-version',
  in: 'header',
  description: 'A date. Every version gets the same answer.',
  schema: { type: 'string', pattern: '^\\d{4}-\\d{2}-\\d{2}$' },
};
