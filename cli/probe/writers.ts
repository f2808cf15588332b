/** A call that a model is to have made. */
export interface WrittenCall {
  readonly name: string;
  readonly args: Readonly<Record<string, string | number>>;
}

/** An answer that a model is to have given. */
export interface WrittenAnswer {
  readonly thought?: string;
  readonly text?: string;
  readonly calls: readonly WrittenCall[];
}

/** How models of a family write: names of its parsers, and an answer as their output. */
export interface Writer {
  readonly tool: string;
  readonly reasoning: string;
  readonly write: (answer: WrittenAnswer) => string;
}

type WriteCalls = (calls: readonly WrittenCall[]) => string;

const json = JSON.stringify;
const named = ({ name, args }: WrittenCall, key = 'arguments'): string =>
  `{"name": ${json(name)}, ${json(key)}: ${json(args)}}`;
const each =
  (write: (call: WrittenCall, index: number) => string, separator = '\n'): WriteCalls =>
  (calls) =>
    calls.map(write).join(separator);
const members = ({ args }: WrittenCall, write: (key: string, value: string | number) => string): string =>
  Object.entries(args)
    .map(([key, value]) => write(key, value))
    .join('');
const within =
  (open: string, write: WriteCalls, close: string): WriteCalls =>
  (calls) =>
    open + write(calls) + close;

/** Thoughts between two tags, then text, then calls. */
function tagged(tool: string, reasoning: string, tags: readonly [string, string], calls: WriteCalls): Writer {
  return {
    tool,
    reasoning,
    write: ({ thought, text = '', calls: made }) =>
      (thought === undefined ? '' : `${tags[0]}${thought}${tags[1]}`) + text + (made.length === 0 ? '' : calls(made)),
  };
}

const think = ['<think>\n', '\n</think>\n\n'] as const;
/** Templates of these models open the thoughts. */
const opened = ['', '\n</think>\n\n'] as const;
const list = each((call) => named(call), ', ');
const m3 = ']<]minimax[>[';

const dsml = (block: string): WriteCalls =>
  within(
    `\n\n<｜DSML｜${block}>\n`,
    each((call) => {
      const parameters = members(
        call,
        (key, value) =>
          `<｜DSML｜parameter name="${key}" string="${typeof value === 'string'}">${value}</｜DSML｜parameter>\n`,
      );
      return `<｜DSML｜invoke name="${call.name}">\n${parameters}</｜DSML｜invoke>`;
    }),
    `\n</｜DSML｜${block}>`,
  );

const python = (value: string | number): string => (typeof value === 'number' ? String(value) : json(value));

const harmony: Writer = {
  tool: 'harmony',
  reasoning: 'gpt_oss',
  write: ({ thought, text, calls }) => {
    const messages = [
      ...(thought === undefined ? [] : [`<|channel|>analysis<|message|>${thought}<|end|>`]),
      ...(text === undefined
        ? []
        : [`<|channel|>${calls.length > 0 ? 'commentary' : 'final'}<|message|>${text}<|end|>`]),
      ...calls.map(
        ({ name, args }) =>
          `<|channel|>commentary to=functions.${name} <|constrain|>json<|message|>${json(args)}<|call|>`,
      ),
    ];
    return messages.join('<|start|>assistant');
  },
};

const inkling: Writer = {
  tool: 'inkling',
  reasoning: 'inkling',
  write: ({ thought, text, calls }) =>
    [
      ...(thought === undefined ? [] : [`<|message_model|><|content_thinking|>${thought}<|end_message|>`]),
      ...(text === undefined ? [] : [`<|message_model|><|content_text|>${text}<|end_message|>`]),
      ...calls.map(
        ({ name, args }) =>
          `<|message_model|>${name}<|content_invoke_tool_json|>${json({ name, args })}<|end_message|>`,
      ),
    ].join(''),
};

const kimiK3: Writer = {
  tool: 'kimi_k3',
  reasoning: 'kimi_k3',
  write: ({ thought, text, calls }) => {
    const block = (name: string, body: string): string =>
      `<|open|>${name}<|sep|>${body}<|close|>${name.split(' ')[0]}<|sep|>`;
    const made = calls.map((call, index) =>
      block(
        `call tool="${call.name}" index="${index + 1}"`,
        members(call, (key, value) => block(`argument key="${key}" type="${typeof value}"`, String(value))),
      ),
    );
    return (
      (thought === undefined ? '' : block('think', thought)) +
      (text === undefined ? '' : block('response', text)) +
      (made.length === 0 ? '' : block('tools', made.join('')))
    );
  },
};

/** One for each format of calls. */
export const writers: readonly Writer[] = [
  tagged(
    'hermes',
    'qwen3',
    think,
    each((call) => `<tool_call>\n${named(call)}\n</tool_call>`),
  ),
  tagged(
    'llama3_json',
    'basic',
    think,
    each((call) => named(call, 'parameters'), '; '),
  ),
  tagged('mistral', 'mistral', ['[THINK]', '[/THINK]'], within('[TOOL_CALLS][', list, ']')),
  tagged('phi4', 'basic', think, within('functools[', list, ']')),
  tagged('jamba', 'basic', think, within('<tool_calls>[', list, ']</tool_calls>')),
  tagged(
    'granite',
    'granite',
    ["Here's my thought process: ", " Here's my response: "],
    within('<|tool_call|>[', list, ']'),
  ),
  tagged('nemotron_deci', 'nemotron_deci', think, within('<TOOLCALL>[', list, ']</TOOLCALL>')),
  tagged(
    'pythonic',
    'basic',
    think,
    within(
      '[',
      each(
        ({ name, args }) =>
          `${name}(${Object.entries(args)
            .map(([key, value]) => `${key}=${python(value)}`)
            .join(', ')})`,
        ', ',
      ),
      ']',
    ),
  ),
  tagged(
    'qwen3_coder',
    'nemotron_nano',
    opened,
    each(
      (call) =>
        `<tool_call>\n<function=${call.name}>\n${members(call, (key, value) => `<parameter=${key}>\n${value}\n</parameter>\n`)}</function>\n</tool_call>`,
    ),
  ),
  harmony,
  tagged(
    'deepseek_v3',
    'deepseek_r1',
    opened,
    within(
      '<｜tool▁calls▁begin｜>',
      each(
        ({ name, args }) =>
          `<｜tool▁call▁begin｜>function<｜tool▁sep｜>${name}\n\`\`\`json\n${json(args)}\n\`\`\`<｜tool▁call▁end｜>`,
      ),
      '<｜tool▁calls▁end｜>',
    ),
  ),
  tagged(
    'deepseek_v3_1',
    'deepseek_v3_1',
    opened,
    within(
      '<｜tool▁calls▁begin｜>',
      each(({ name, args }) => `<｜tool▁call▁begin｜>${name}<｜tool▁sep｜>${json(args)}<｜tool▁call▁end｜>`, ''),
      '<｜tool▁calls▁end｜>',
    ),
  ),
  tagged('deepseek_v3_2', 'deepseek_v3_2', opened, dsml('function_calls')),
  tagged('deepseek_v4', 'deepseek_v4', think, dsml('tool_calls')),
  tagged(
    'glm47',
    'glm47',
    think,
    each(
      (call) =>
        `<tool_call>${call.name}\n${members(call, (key, value) => `<arg_key>${key}</arg_key>\n<arg_value>${value}</arg_value>\n`)}</tool_call>`,
    ),
  ),
  tagged(
    'kimi_k2',
    'kimi_k25',
    ['', '</think>'],
    within(
      '<|tool_calls_section_begin|>',
      each(
        ({ name, args }, index) =>
          `<|tool_call_begin|>functions.${name}:${index}<|tool_call_argument_begin|>${json(args)}<|tool_call_end|>`,
        '',
      ),
      '<|tool_calls_section_end|>',
    ),
  ),
  kimiK3,
  tagged(
    'minimax_m2',
    'minimax_m2',
    opened,
    within(
      '<minimax:tool_call>\n',
      each(
        (call) =>
          `<invoke name="${call.name}">\n${members(call, (key, value) => `<parameter name="${key}">${value}</parameter>\n`)}</invoke>`,
      ),
      '\n</minimax:tool_call>',
    ),
  ),
  tagged(
    'minimax_m3',
    'minimax_m3',
    ['<mm:think>', '</mm:think>'],
    within(
      `${m3}<tool_call>\n`,
      each(
        (call) =>
          `${m3}<invoke name="${call.name}">${members(call, (key, value) => `${m3}<${key}>${value}${m3}</${key}>`)}${m3}</invoke>\n`,
        '',
      ),
      `${m3}</tool_call>`,
    ),
  ),
  tagged(
    'gemma4',
    'gemma4',
    ['<|channel>thought\n', '\n<channel|>'],
    each(
      ({ name, args }) =>
        `<|tool_call>call:${name}{${Object.entries(args)
          .map(([key, value]) => `${key}:${typeof value === 'number' ? value : `<|"|>${value}<|"|>`}`)
          .join(',')}}<tool_call|>`,
      '',
    ),
  ),
  inkling,
  tagged('default', 'basic', think, within('<TOOLCALL>[', list, ']</TOOLCALL>')),
];
