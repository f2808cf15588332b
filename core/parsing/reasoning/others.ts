import type { ReasoningFormat } from '../context.ts';
import { harmony } from '../formats/harmony.ts';

export const kimi: ReasoningFormat = { names: ['kimi'], opens: ['◁think▷'], closes: ['◁/think▷'] };

export const kimiK3: ReasoningFormat = {
  names: ['kimi_k3'],
  opens: ['<|open|>think<|sep|>'],
  closes: ['<|close|>think<|sep|>'],
  hidden: ['<|open|>response<|sep|>', '<|close|>response<|sep|>', '<|close|>message<|sep|>'],
  specialTokens: true,
};

export const mistral: ReasoningFormat = {
  names: ['mistral'],
  opens: ['[THINK]'],
  closes: ['[/THINK]'],
  forced: true,
  specialTokens: true,
};

export const granite: ReasoningFormat = {
  names: ['granite'],
  opens: ["Here's my thought process:", 'Here is my thought process:'],
  closes: ["Here's my response:", 'Here is my response:'],
};

export const minimaxM3: ReasoningFormat = {
  names: ['minimax_m3'],
  opens: ['<mm:think>'],
  closes: ['</mm:think>'],
  specialTokens: true,
};

export const gemma4: ReasoningFormat = {
  names: ['gemma4'],
  opens: ['<|channel>thought\n'],
  closes: ['<channel|>'],
  specialTokens: true,
};

export const inkling: ReasoningFormat = {
  names: ['inkling'],
  opens: ['<|content_thinking|>'],
  closes: ['<|end_message|>'],
  headers: ['<|message_model|>'],
  hidden: ['<|content_text|>', '<|content_model_end_sampling|>', '<|end_message|>'],
  specialTokens: true,
};

/** Messages in channels, which the format of calls reads. */
export const gptOss: ReasoningFormat = {
  names: ['gpt_oss', 'harmony'],
  opens: [],
  closes: [],
  readBy: harmony,
  specialTokens: true,
};
