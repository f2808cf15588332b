import type { ReasoningFormat, ToolFormat } from './context.ts';
import { compileGrammar, type Grammar } from './document.ts';
import { deepseekV4, deepseekV32 } from './formats/deepseek-dsml.ts';
import { deepseekV3, deepseekV31 } from './formats/deepseek-v3.ts';
import { fallback } from './formats/fallback.ts';
import { gemma4 } from './formats/gemma4.ts';
import { glm47 } from './formats/glm47.ts';
import { granite } from './formats/granite.ts';
import { harmony } from './formats/harmony.ts';
import { hermes } from './formats/hermes.ts';
import { inkling } from './formats/inkling.ts';
import { jamba } from './formats/jamba.ts';
import { kimiK2 } from './formats/kimi-k2.ts';
import { kimiK3 } from './formats/kimi-k3.ts';
import { llama3 } from './formats/llama3.ts';
import { minimaxM2 } from './formats/minimax-m2.ts';
import { minimaxM3 } from './formats/minimax-m3.ts';
import { mistral } from './formats/mistral.ts';
import { nemotronDeci } from './formats/nemotron-deci.ts';
import { phi4 } from './formats/phi4.ts';
import { pythonic } from './formats/pythonic.ts';
import { qwen3Coder } from './formats/qwen3-coder.ts';
import * as others from './reasoning/others.ts';
import * as think from './reasoning/think.ts';

export const toolFormats: readonly ToolFormat[] = [
  hermes,
  llama3,
  mistral,
  phi4,
  jamba,
  granite,
  nemotronDeci,
  pythonic,
  qwen3Coder,
  harmony,
  deepseekV3,
  deepseekV31,
  deepseekV32,
  deepseekV4,
  glm47,
  kimiK2,
  kimiK3,
  minimaxM2,
  minimaxM3,
  gemma4,
  inkling,
  fallback,
];

export const reasoningFormats: readonly ReasoningFormat[] = [...Object.values(think), ...Object.values(others)];

const tools = byName(toolFormats);
const reasonings = byName(reasoningFormats);
const grammars = new Map<ToolFormat | null, Map<ReasoningFormat | null, Grammar>>();

export function findToolFormat(name: string): ToolFormat | undefined {
  return tools.get(name);
}

export function findReasoningFormat(name: string): ReasoningFormat | undefined {
  return reasonings.get(name);
}

/** The compiled pair; compiled once. */
export function grammarOf(tool: ToolFormat | null, reasoning: ReasoningFormat | null): Grammar {
  const reader = reasoning?.readBy ?? tool;
  let row = grammars.get(reader);
  if (row === undefined) {
    row = new Map();
    grammars.set(reader, row);
  }
  let grammar = row.get(reasoning);
  if (grammar === undefined) {
    grammar = compileGrammar(reader, reasoning);
    row.set(reasoning, grammar);
  }
  return grammar;
}

function byName<T extends { readonly names: readonly string[] }>(formats: readonly T[]): ReadonlyMap<string, T> {
  return new Map(formats.flatMap((format) => format.names.map((name) => [name, format] as const)));
}
