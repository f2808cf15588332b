import { jsonFormat } from '../json-calls.ts';

/** Llama Nemotron: `<TOOLCALL>[{…}, …]</TOOLCALL>`. */
export const nemotronDeci = jsonFormat({
  names: ['nemotron_deci', 'llama_nemotron_json'],
  starts: ['<TOOLCALL>'],
  ends: ['</TOOLCALL>'],
});
