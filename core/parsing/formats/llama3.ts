import { jsonFormat } from '../json-calls.ts';

/** Llama 3: `<|python_tag|>{"name": …, "parameters": …}; {…}` or the bare objects. */
export const llama3 = jsonFormat({
  names: ['llama3_json', 'llama3'],
  starts: ['<|python_tag|>'],
  ends: [],
  bare: '{',
  specialTokens: true,
});
