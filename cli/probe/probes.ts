import { failure, isValid, type Judge, parsed } from './judge.ts';
import type { Observed } from './observed.ts';

/** A request and what its answer must be. */
export interface Probe {
  readonly name: string;
  /** How calls and formats are asked for. */
  readonly mode: 'text' | 'auto' | 'none' | 'required' | 'named' | 'format' | 'reasoning';
  readonly body: object;
  readonly judge: Judge;
}

const weatherSchema = {
  type: 'object',
  properties: { city: { type: 'string' }, unit: { type: 'string', enum: ['celsius', 'fahrenheit'] } },
  required: ['city', 'unit'],
  additionalProperties: false,
};
const weather = {
  type: 'function',
  function: { name: 'get_weather', description: 'The weather of a city now.', parameters: weatherSchema },
};
const timeSchema = { type: 'object', properties: {}, additionalProperties: false };
const time = {
  type: 'function',
  function: { name: 'get_time', description: 'The time now.', parameters: timeSchema },
};
const schemas: Readonly<Record<string, unknown>> = {
  get_weather: weatherSchema,
  get_time: timeSchema,
};
const tools = [weather, time];
const asked = (content: string) => ({ messages: [{ role: 'user', content }] });
const rain = asked('What is the weather in Paris, in celsius? Use the tool.');
const both = asked('What is the weather in Paris and in Rome, in celsius? Call the tool once for each city.');
const called = {
  messages: [
    ...rain.messages,
    {
      role: 'assistant',
      content: null,
      tool_calls: [
        {
          id: 'call-1',
          type: 'function',
          function: { name: 'get_weather', arguments: '{"city":"Paris","unit":"celsius"}' },
        },
      ],
    },
    { role: 'tool', tool_call_id: 'call-1', content: '21 degrees, sunny' },
  ],
};
const named = { tool_choice: { type: 'function', function: { name: 'get_weather' } } };
const thinking = { chat_template_kwargs: { enable_thinking: true } };

const cut = ({ finish }: Observed): boolean => finish === 'length';

const noCalls: Judge = ({ calls }) =>
  calls.length === 0 ? null : failure('arguments', `${calls.length} calls that nobody asked for`);

const someText: Judge = (answer) =>
  noCalls(answer) ?? (answer.content.trim() === '' && !cut(answer) ? noText(answer) : null);

function noText({ reasoning }: Observed) {
  return reasoning === '' ? failure('model', 'an empty answer') : failure('reasoning', `only reasoning: ${reasoning}`);
}

/** Calls of offered tools whose arguments keep to the schemas. `least`: how many there must be. */
function calls(o: { least: number; most?: number; kept: boolean }): Judge {
  return (answer) => {
    if (cut(answer)) return failure('model', 'no whole call before max_tokens');
    if (answer.calls.length < o.least)
      return failure(
        o.kept && o.least === 1 ? 'arguments' : 'model',
        `${answer.calls.length} calls: ${answer.content}`,
      );
    if (answer.calls.length > (o.most ?? 32)) return failure('schema', `${answer.calls.length} calls`);
    for (const { name, arguments: json } of answer.calls) {
      const schema = schemas[name];
      if (schema === undefined) return failure(o.kept ? 'schema' : 'model', `a call of ${name}, which is no tool`);
      if (!isValid(schema, parsed(json))) return failure(o.kept ? 'schema' : 'model', `${name}: ${json}`);
    }
    return null;
  };
}

/** Content that a check takes; what a grammar forces. */
function content(what: string, check: (text: string) => boolean): Judge {
  return (answer) => {
    if (cut(answer)) return failure('model', 'no end before max_tokens');
    if (answer.content === '' && answer.reasoning !== '')
      return failure('reasoning', `${what} in the reasoning: ${answer.reasoning}`);
    return check(answer.content.trim()) ? null : failure('schema', `no ${what}: ${answer.content}`);
  };
}

const weatherJson = content('JSON of the schema', (text) => isValid(weatherSchema, parsed(text)));
const format = {
  response_format: { type: 'json_schema', json_schema: { name: 'weather', schema: weatherSchema, strict: true } },
};

export const probes: readonly Probe[] = [
  { name: 'text', mode: 'text', body: asked('Say hello.'), judge: someText },
  {
    name: 'stop string',
    mode: 'text',
    body: { ...asked('Count from 1 to 9.'), stop: ['5'] },
    judge: (answer) => (answer.content.includes('5') ? failure('leak', answer.content) : noCalls(answer)),
  },
  {
    name: 'reasoning',
    mode: 'reasoning',
    body: { ...asked('Is 97 a prime number? Think first.'), ...thinking },
    judge: someText,
  },
  {
    name: 'reasoning off',
    mode: 'reasoning',
    body: { ...asked('Is 97 a prime number?'), thinking: false },
    judge: (answer) =>
      answer.reasoning === '' ? someText(answer) : failure('model', `reasoning: ${answer.reasoning}`),
  },
  { name: 'call', mode: 'auto', body: { ...rain, tools }, judge: calls({ least: 1, kept: false }) },
  {
    name: 'call after thinking',
    mode: 'auto',
    body: { ...rain, tools, ...thinking },
    judge: calls({ least: 1, kept: false }),
  },
  { name: 'parallel calls', mode: 'auto', body: { ...both, tools }, judge: calls({ least: 2, kept: false }) },
  {
    name: 'no need to call',
    mode: 'auto',
    body: { ...asked('Say hello. Do not use tools.'), tools },
    judge: (answer) => (answer.calls.length > 0 ? failure('model', 'it called all the same') : null),
  },
  {
    name: 'strict call',
    mode: 'auto',
    body: { ...rain, tools: [{ ...weather, function: { ...weather.function, strict: true } }] },
    judge: (answer) =>
      answer.calls.length === 0 ? failure('model', answer.content) : calls({ least: 1, kept: true })(answer),
  },
  {
    name: 'result of a call',
    mode: 'auto',
    body: { ...called, tools },
    judge: (answer) => (answer.calls.length > 0 ? failure('model', 'it called again') : someText(answer)),
  },
  { name: 'result without tools', mode: 'none', body: called, judge: someText },
  { name: 'none', mode: 'none', body: { ...rain, tools, tool_choice: 'none' }, judge: noCalls },
  {
    name: 'required',
    mode: 'required',
    body: { ...rain, tools, tool_choice: 'required' },
    judge: calls({ least: 1, kept: true }),
  },
  {
    name: 'required after thinking',
    mode: 'required',
    body: { ...rain, tools, tool_choice: 'required', ...thinking },
    judge: calls({ least: 1, kept: true }),
  },
  {
    name: 'required, one call',
    mode: 'required',
    body: { ...both, tools, tool_choice: 'required', parallel_tool_calls: false },
    judge: calls({ least: 1, most: 1, kept: true }),
  },
  {
    name: 'required, cut',
    mode: 'required',
    body: { ...rain, tools, tool_choice: 'required', max_tokens: 6 },
    judge: (answer) => (cut(answer) ? null : failure('schema', `finish_reason ${answer.finish}`)),
  },
  { name: 'named', mode: 'named', body: { ...rain, tools, ...named }, judge: calls({ least: 1, most: 1, kept: true }) },
  {
    name: 'json_object',
    mode: 'format',
    body: { ...asked('Describe Paris as JSON with two short members.'), response_format: { type: 'json_object' } },
    judge: content('JSON object', (text) => isValid({ type: 'object' }, parsed(text))),
  },
  { name: 'json_schema', mode: 'format', body: { ...rain, ...format }, judge: weatherJson },
  { name: 'json_schema after thinking', mode: 'format', body: { ...rain, ...format, ...thinking }, judge: weatherJson },
  {
    name: 'json_schema or call',
    mode: 'format',
    body: { ...rain, ...format, tools: [weather] },
    judge: (answer) => (answer.calls.length > 0 ? null : weatherJson(answer)),
  },
  {
    name: 'guided_regex',
    mode: 'format',
    body: { ...asked('Name a year.'), guided_regex: '(19|20)[0-9]{2}' },
    judge: content('year', (text) => /^(19|20)\d{2}$/.test(text)),
  },
  {
    name: 'guided_choice',
    mode: 'format',
    body: { ...asked('Is 97 prime?'), guided_choice: ['yes', 'no'] },
    judge: content('choice', (text) => text === 'yes' || text === 'no'),
  },
];
