import type { ToolSchema } from '../context.ts';

/** Tools with parameters of every type. */
export const weatherTools: readonly ToolSchema[] = [
  {
    name: 'get_weather',
    parameters: {
      type: 'object',
      properties: {
        city: { type: 'string' },
        days: { type: 'integer' },
        exact: { type: 'boolean' },
        ratio: { anyOf: [{ type: 'number' }, { type: 'null' }] },
        where: { $ref: '#/$defs/place' },
        tags: { type: 'array', items: { type: 'string' } },
        route: { anyOf: [{ $ref: '#/$defs/route' }, { type: 'null' }] },
      },
      $defs: {
        place: { type: 'object', properties: { lat: { type: 'number' } } },
        stops: { type: 'array', items: { type: 'integer' } },
        route: { type: 'object', properties: { stops: { $ref: '#/$defs/stops' }, fast: { type: 'boolean' } } },
      },
    },
  },
  { name: 'now', parameters: { type: 'object', properties: {} } },
];
