import { jsonFormat } from '../json-calls.ts';

/** For models whose format nobody named: the two commonest markers, and bare JSON. */
export const fallback = jsonFormat({
  names: ['default'],
  starts: ['<TOOLCALL>', '<|python_tag|>'],
  ends: ['</TOOLCALL>'],
  bare: '{[',
});
