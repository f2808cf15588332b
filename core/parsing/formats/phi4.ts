import { jsonFormat } from '../json-calls.ts';

/** Phi-4: `functools[{…}, …]`. */
export const phi4 = jsonFormat({ names: ['phi4', 'phi4_mini_json'], starts: ['functools'], ends: [] });
