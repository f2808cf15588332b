import { jsonFormat } from '../json-calls.ts';

/** Jamba: `<tool_calls>[{…}, …]</tool_calls>`. */
export const jamba = jsonFormat({ names: ['jamba'], starts: ['<tool_calls>'], ends: ['</tool_calls>'] });
