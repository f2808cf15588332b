import { expect } from 'chai';
import OpenAI, { BadRequestError } from 'openai';
import { parseSnapshot } from '#cli/probe/snapshot.ts';
import { runStator } from '#cli/stator.test-support.ts';
import { inProject } from '../../../scripts/support/project.ts';
import { run } from '../../../scripts/support/run.ts';
import { findPython } from '../../support/python.ts';
import { skip } from '../../support/skip.ts';
import type { GetStack } from './stack.ts';

const city = { type: 'string', enum: ['Paris', 'Rome', 'Oslo'] };
const parameters = {
  type: 'object',
  properties: { city, days: { type: 'integer', minimum: 1, maximum: 7 } },
  required: ['city', 'days'],
  additionalProperties: false,
};
const weather = {
  type: 'function',
  function: { name: 'get_weather', description: 'The weather of a city for some days.', parameters },
} as const;
const time = {
  type: 'function',
  function: { name: 'get_time', parameters: { type: 'object', properties: {} } },
} as const;
const named = { type: 'function', function: { name: 'get_weather' } } as const;

function expectWeather(json: string): void {
  const given = JSON.parse(json) as { city: string; days: number };
  expect(Object.keys(given)).to.deep.equal(['city', 'days']);
  expect(city.enum).to.include(given.city);
  expect(given.days).to.be.within(1, 7);
}

/** Tool calls and structured output of a small model: whatever it would say, the grammar keeps it to. */
export function toolCases(stack: GetStack): void {
  let client: OpenAI;
  let common: { model: string; messages: { role: 'user'; content: string }[]; temperature: number; seed: number };

  before(() => {
    client = new OpenAI({ baseURL: `${stack().cluster.url}/v1`, apiKey: 'none', maxRetries: 0 });
    const messages = [{ role: 'user' as const, content: 'What is the weather in Rome for three days?' }];
    common = { model: stack().model, messages, temperature: 0.7, seed: 11 };
  });

  it('calls a tool that is required', async () => {
    const forced = { tool_choice: 'required', parallel_tool_calls: false } as const;
    const answer = await client.chat.completions.create({ ...common, tools: [weather, time], ...forced });
    const [choice] = answer.choices;
    expect(choice?.finish_reason).to.equal('tool_calls');
    expect(choice?.message.content).to.equal(null);
    expect(choice?.message.tool_calls).to.have.length(1);
    const [call] = choice?.message.tool_calls ?? [];
    if (call?.type !== 'function') return expect.fail('no function was called');
    if (call.function.name === 'get_weather') expectWeather(call.function.arguments);
    else expect(call.function).to.deep.equal({ name: 'get_time', arguments: '{}' });
  });

  it('calls the tool that is named, streamed piece by piece', async () => {
    const stream = client.chat.completions.stream({ ...common, tools: [weather, time], tool_choice: named });
    let pieces = 0;
    stream.on('tool_calls.function.arguments.delta', () => pieces++);
    const [call] = (await stream.finalMessage()).tool_calls ?? [];
    if (call?.type !== 'function') return expect.fail('no function was called');
    expect(call.function.name).to.equal('get_weather');
    expectWeather(call.function.arguments);
    expect(pieces).to.be.greaterThan(1);
  });

  for (const streamed of [false, true]) {
    it(`runs tools by the client's own helper${streamed ? ', streamed' : ''}`, async () => {
      const asked: string[] = [];
      const tool = {
        type: 'function' as const,
        function: {
          ...weather.function,
          parse: JSON.parse,
          function: (args: { city: string }) => {
            asked.push(args.city);
            return `Sunny in ${args.city}.`;
          },
        },
      };
      const body = { ...common, tools: [tool], tool_choice: named };
      const runner = streamed
        ? client.chat.completions.runTools({ ...body, stream: true })
        : client.chat.completions.runTools(body);
      await runner.done();
      expect(asked).to.have.length(1);
      expect(city.enum).to.include(asked[0]);
      const result = runner.messages.find(({ role }) => role === 'tool');
      expect(result?.content).to.equal(`Sunny in ${asked[0]}.`);
      // The answer to the result: its history holds the call and what came of it.
      const { choices } = await client.chat.completions.create({
        ...common,
        messages: [...common.messages, ...runner.messages.slice(1)],
        tools: [weather],
        max_tokens: 12,
      });
      expect(choices).to.have.length(1);
    });
  }

  it('keeps strict tools and free text apart', async () => {
    const strict = { ...weather, function: { ...weather.function, strict: true } };
    const answer = await client.chat.completions.create({ ...common, tools: [strict], max_tokens: 40 });
    for (const call of answer.choices[0]?.message.tool_calls ?? []) {
      if (call.type === 'function' && answer.choices[0]?.finish_reason === 'tool_calls')
        expectWeather(call.function.arguments);
    }
    expect(['stop', 'length', 'tool_calls']).to.include(answer.choices[0]?.finish_reason);
  });

  it('answers in the format that is asked for', async () => {
    const response_format = {
      type: 'json_schema',
      json_schema: { name: 'plan', schema: parameters, strict: true },
    } as const;
    const json = await client.chat.completions.create({ ...common, response_format });
    expectWeather(json.choices[0]?.message.content ?? '');
    const object = await client.chat.completions.create({
      ...common,
      response_format: { type: 'json_object' },
      max_tokens: 200,
    });
    if (object.choices[0]?.finish_reason === 'stop')
      expect(JSON.parse(object.choices[0].message.content ?? '')).to.be.an('object');
    const guided = async (fields: object): Promise<string> => {
      // A small model may put much white space between the parts of an object.
      const body = { ...common, ...fields, max_tokens: 256 } as OpenAI.ChatCompletionCreateParamsNonStreaming;
      return (await client.chat.completions.create(body)).choices[0]?.message.content ?? '';
    };
    expect(await guided({ guided_regex: '[A-Z][a-z]{2,9}, [0-9]{2}' })).to.match(/^[A-Z][a-z]{2,9}, [0-9]{2}$/);
    expect(['yes', 'no']).to.include(await guided({ guided_choice: ['yes', 'no'] }));
    expect(await guided({ guided_grammar: 'root ::= "a" [0-9]{3}' })).to.match(/^a\d{3}$/);
    expectWeather(await guided({ guided_json: parameters }));
    const tag = {
      type: 'tag',
      begin: '<n>',
      content: { type: 'json_schema', json_schema: { type: 'integer', minimum: 5, maximum: 9 } },
      end: '</n>',
    };
    expect(await guided({ structural_tag: { type: 'structural_tag', format: tag } })).to.match(/^<n>\s*[5-9]\s*<\/n>$/);
  });

  it('calls a tool for the official package for Python', async function () {
    const python = findPython() ?? skip(this, 'the Python packages openai and grpcio-tools are not installed');
    const script = inProject('tests/clients/python/tools_openai.py');
    const { status, output } = await run(python, [script, `${stack().cluster.url}/v1`, stack().model]);
    expect(status, output).to.equal(0);
    const found = JSON.parse(output.trim().split('\n').at(-1) ?? '') as Record<string, unknown>;
    expect(found).to.include({ finish: 'tool_calls', streamed_finish: 'tool_calls' });
    for (const way of ['whole', 'streamed']) {
      const call = found[way] as { id: string; name: string; arguments: { city: string } };
      expect(call.id).to.match(/^call-/);
      expect(call.name).to.equal('get_weather');
      expect(['Paris', 'Rome']).to.include(call.arguments.city);
    }
    expect(found['pieces']).to.be.greaterThan(0);
  });

  it('has no defect that stator probe would find', async () => {
    const { url } = stack().cluster;
    const only = ['--only', '^(named|guided_choice|required, cut)$', '--max-tokens', '48', '--no-recorded', '--json'];
    const { code, stdout, stderr } = await runStator(['probe', '--url', url, '--model', stack().model, ...only]);
    expect(code, stderr + stdout).to.equal(0);
    const { results } = parseSnapshot(stdout, 'stdout');
    expect(results).to.have.length(6);
    for (const one of results.filter(({ probe }) => probe !== 'named'))
      expect(one.outcome, one.detail).to.equal('pass');
  });

  it('refuses a schema that could not be kept to, with its place', async () => {
    const schema = { type: 'object', properties: { list: { type: 'array', contains: {} } } };
    const response_format = { type: 'json_schema', json_schema: { name: 'x', schema } } as const;
    for (const stream of [false, true]) {
      const refused = client.chat.completions.create({ ...common, response_format, stream });
      const error = await refused.then(
        () => expect.fail('it was taken'),
        (thrown: unknown) => thrown,
      );
      if (!(error instanceof BadRequestError)) throw error;
      expect(error.param).to.equal('response_format');
      expect(error.message).to.include('#/properties/list');
    }
  });
}
