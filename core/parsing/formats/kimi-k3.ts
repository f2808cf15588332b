import { attribute } from '../tagged-calls.ts';
import { taggedFormat } from '../tagged-format.ts';

const open = (tag: string): string => `<|open|>${tag}<|sep|>`;
const close = (tag: string): string => `<|close|>${tag}<|sep|>`;

/** Kimi K3 (XTML): channels `response` and `tools`, the latter with `call` and `argument` elements. */
export const kimiK3 = taggedFormat({
  names: ['kimi_k3'],
  blocks: [open('tools')],
  blockEnds: [close('tools')],
  call: '<|open|>call ',
  headEnds: ['<|sep|>'],
  head: (text) => attribute(text, 'tool'),
  parameters: {
    open: '<|open|>argument ',
    headEnd: '<|sep|>',
    head: (text) => {
      const key = attribute(text, 'key');
      return key === null ? null : { key, string: (attribute(text, 'type') ?? 'string') === 'string' };
    },
    end: close('argument'),
    callEnd: close('call'),
    untyped: 'string',
  },
  hidden: [open('response'), close('response'), close('message'), close('tools')],
  specialTokens: true,
});
