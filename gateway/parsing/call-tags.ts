import { gemmaCall } from '#core/grammar/calls/gemma.ts';
import { kimiCalls } from '#core/grammar/calls/kimi-k3.ts';
import { minimaxCalls } from '#core/grammar/calls/minimax-m3.ts';
import { pythonicList, pythonicText } from '#core/grammar/calls/pythonic.ts';
import { type CallTool, callSchema } from '#core/grammar/calls/tool.ts';
import type { ToolFormat } from '#core/parsing/context.ts';

type Json = Readonly<Record<string, unknown>>;

/** How a format writes one call, as a tag around its arguments. */
interface CallStyle {
  readonly begin: (name: string) => string;
  readonly end: string;
  /** What stands between `begin` and the arguments. */
  readonly middle?: readonly Json[];
  /** How arguments are written; default: as JSON. */
  readonly style?: 'qwen_xml' | 'minimax_xml' | 'glm_xml' | 'deepseek_xml';
}

/** How a format writes calls: each begins at the trigger, or all of them stand in a list that begins there. */
interface CallsStyle {
  readonly trigger: string;
  readonly call: CallStyle;
  /** Whether calls stand inside of what other markup begins, so that they cannot be all of an answer. */
  readonly inMessages?: true;
  readonly list?: { readonly open: string; readonly separator: string; readonly close: string };
}

const named = (open: string, key: string) => (name: string) => `${open}{"name": ${JSON.stringify(name)}, "${key}": `;
const inList = (open: string, separator: string, close: string): CallsStyle => ({
  trigger: open,
  call: { begin: named('', 'arguments'), end: '}' },
  list: { open, separator, close },
});

const dsml = '｜DSML｜';
const inBlock = (block: string, mark: string, style: NonNullable<CallStyle['style']>): CallsStyle => ({
  trigger: `<${block}>`,
  call: { begin: (name) => `<${mark}invoke name="${name}">\n`, end: `</${mark}invoke>`, style },
  list: { open: `<${block}>\n`, separator: '\n', close: `\n</${block}>` },
});

/** The formats whose calls can be kept to their tools' schemas. */
const styles: Readonly<Record<string, CallsStyle>> = {
  hermes: { trigger: '<tool_call>', call: { begin: named('<tool_call>\n', 'arguments'), end: '}\n</tool_call>' } },
  llama3_json: { trigger: '{"name": ', call: { begin: named('', 'parameters'), end: '}' } },
  default: { trigger: '{"name": ', call: { begin: named('', 'arguments'), end: '}' } },
  nemotron_deci: inList('<TOOLCALL>[', ', ', ']</TOOLCALL>'),
  phi4: inList('functools[', ', ', ']'),
  granite: inList('<|tool_call|>[', ', ', ']'),
  mistral: inList('[TOOL_CALLS][', ', ', ']'),
  jamba: inList('<tool_calls>[\n    ', ',\n    ', '\n]</tool_calls>'),
  qwen3_coder: {
    trigger: '<tool_call>',
    call: {
      begin: (name) => `<tool_call>\n<function=${name}>\n`,
      end: '</function>\n</tool_call>',
      style: 'qwen_xml',
    },
  },
  harmony: {
    trigger: ' to=functions.',
    call: {
      begin: (name) => ` to=functions.${name}`,
      middle: [
        { type: 'regex', pattern: '(<\\|channel\\|>commentary)?( ?<\\|constrain\\|>json| json)?<\\|message\\|>' },
      ],
      end: '',
    },
    inMessages: true,
  },
  glm47: {
    trigger: '<tool_call>',
    call: { begin: (name) => `<tool_call>${name}\n`, end: '</tool_call>', style: 'glm_xml' },
  },
  minimax_m2: inBlock('minimax:tool_call', '', 'minimax_xml'),
  deepseek_v3_2: inBlock(`${dsml}function_calls`, dsml, 'deepseek_xml'),
  deepseek_v4: inBlock(`${dsml}tool_calls`, dsml, 'deepseek_xml'),
  deepseek_v3: {
    trigger: '<｜tool▁call▁begin｜>',
    call: {
      begin: (name) => `<｜tool▁call▁begin｜>function<｜tool▁sep｜>${name}\n\`\`\`json\n`,
      end: '\n```<｜tool▁call▁end｜>',
    },
  },
  deepseek_v3_1: {
    trigger: '<｜tool▁call▁begin｜>',
    call: { begin: (name) => `<｜tool▁call▁begin｜>${name}<｜tool▁sep｜>`, end: '<｜tool▁call▁end｜>' },
  },
  kimi_k2: {
    trigger: '<|tool_call_begin|>',
    call: {
      begin: (name) => `<|tool_call_begin|>functions.${name}:`,
      middle: [
        { type: 'regex', pattern: '[0-9]{1,3}' },
        { type: 'const_string', value: '<|tool_call_argument_begin|>' },
      ],
      end: '<|tool_call_end|>',
    },
  },
  inkling: {
    trigger: '<|content_invoke_tool_json|>',
    call: {
      begin: (name) => `<|content_invoke_tool_json|>{"name":${JSON.stringify(name)},"args":`,
      end: '}<|end_message|>',
    },
    inMessages: true,
  },
};

/** How a format writes calls whose arguments no style of structural tags knows: as a grammar of its own. */
interface OwnStyle {
  /** Free text in which calls keep to their schemas. */
  readonly inText: (tools: readonly CallTool[], parallel: boolean) => Json;
  /** Calls and nothing else. */
  readonly alone: (tools: readonly CallTool[], parallel: boolean) => Json;
}

type CallsGrammar = (tools: readonly CallTool[], parallel: boolean) => string;

const grammar = (text: string): Json => ({ type: 'grammar', grammar: text });
const triggered = (trigger: string, tag: Json, parallel: boolean): Json => ({
  type: 'triggered_tags',
  triggers: [trigger],
  tags: [tag],
  stop_after_first: !parallel,
});

/** A list of calls between two marks, the first of which begins with the trigger. */
function inMarks(trigger: string, begin: string, calls: CallsGrammar, end: string): OwnStyle {
  const alone = (tools: readonly CallTool[], parallel: boolean): Json => ({
    type: 'tag',
    begin,
    content: grammar(calls(tools, parallel)),
    end,
  });
  return { alone, inText: (tools, parallel) => triggered(trigger, alone(tools, parallel), parallel) };
}

const gemmaTag = (tools: readonly CallTool[]): Json => ({
  type: 'tag',
  begin: '<|tool_call>call:',
  content: grammar(gemmaCall(tools)),
  end: '}<tool_call|>',
});
const m3 = ']<]minimax[>[';

const ownStyles: Readonly<Record<string, OwnStyle>> = {
  gemma4: {
    inText: (tools, parallel) => triggered('<|tool_call>', gemmaTag(tools), parallel),
    alone: (tools, parallel) => separated([gemmaTag(tools)], '', parallel),
  },
  pythonic: {
    inText: (tools, parallel) => grammar(pythonicText(tools, parallel)),
    alone: (tools, parallel) => grammar(pythonicList(tools, parallel)),
  },
  minimax_m3: inMarks(`${m3}<tool_call>`, `${m3}<tool_call>\n`, minimaxCalls, `${m3}</tool_call>`),
  kimi_k3: inMarks('<|open|>tools<|sep|>', '<|open|>tools<|sep|>', kimiCalls, '<|close|>tools<|sep|>'),
};

/** Whether calls of a format can be kept to schemas. */
export function hasCallTags(format: ToolFormat | null): boolean {
  const name = format?.names[0] ?? '';
  return Object.hasOwn(styles, name) || Object.hasOwn(ownStyles, name);
}

/** Whether calls of such a format may be all that an answer holds. */
export function canCallAlone(format: ToolFormat | null): boolean {
  return hasCallTags(format) && styles[format?.names[0] ?? '']?.inMessages !== true;
}

/** Free text in which calls keep to their tools' schemas, as the format of a structural tag. May throw GrammarError. */
export function callsInText(format: ToolFormat, tools: readonly CallTool[], parallel: boolean): Json {
  const own = ownStyles[format.names[0] ?? ''];
  if (own !== undefined) return own.inText(tools, parallel);
  const style = styleOf(format);
  return {
    type: 'triggered_tags',
    triggers: [style.trigger],
    tags: style.list === undefined ? callTags(style, tools) : [listTag(style, style.list, tools, parallel)],
    stop_after_first: !parallel,
  };
}

/** Calls and nothing else, at least one. May throw GrammarError. */
export function callsAlone(format: ToolFormat, tools: readonly CallTool[], parallel: boolean): Json {
  const own = ownStyles[format.names[0] ?? ''];
  if (own !== undefined) return own.alone(tools, parallel);
  const style = styleOf(format);
  if (style.list !== undefined) return listTag(style, style.list, tools, parallel);
  return separated(callTags(style, tools), '\n', parallel);
}

function styleOf(format: ToolFormat): CallsStyle {
  const style = styles[format.names[0] ?? ''];
  if (style === undefined) throw new Error(`the format ${format.names[0]} has no tags for calls`);
  return style;
}

function listTag(
  style: CallsStyle,
  list: NonNullable<CallsStyle['list']>,
  tools: readonly CallTool[],
  parallel: boolean,
): Json {
  const content = separated(callTags(style, tools), list.separator, parallel);
  return { type: 'tag', begin: list.open, content, end: list.close };
}

function separated(tags: readonly Json[], separator: string, parallel: boolean): Json {
  return { type: 'tags_with_separator', tags, separator, at_least_one: true, stop_after_first: !parallel };
}

/** In the forms that engines have known longest. */
function argumentsFormat({ style }: CallStyle, schema: unknown): Json {
  if (style === 'qwen_xml') return { type: 'qwen_xml_parameter', json_schema: schema };
  return { type: 'json_schema', json_schema: schema, ...(style === undefined ? {} : { style }) };
}

function callTags({ call }: CallsStyle, tools: readonly CallTool[]): Json[] {
  return tools.map((tool) => {
    const { name } = tool;
    const content = argumentsFormat(call, callSchema(tool));
    return {
      type: 'tag',
      begin: call.begin(name),
      content: call.middle === undefined ? content : { type: 'sequence', elements: [...call.middle, content] },
      end: call.end,
    };
  });
}
