import type { Case } from './cases.ts';
import { weatherTools as tools } from './tools.ts';

const parameter = (key: string, value: string): string => `<parameter=${key}>\n${value}\n</parameter>\n`;
const coder = (...parameters: string[]): string =>
  `<tool_call>\n<function=get_weather>\n${parameters.join('')}</function>\n</tool_call>`;
const m3 = ']<]minimax[>[';

export const taggedCases: readonly Case[] = [
  {
    name: 'qwen3_coder: every type',
    setup: { tool: 'qwen3_coder', tools },
    text: `Look:\n${coder(parameter('city', 'New\n"York"'), parameter('days', '3'), parameter('exact', 'True'), parameter('ratio', 'null'), parameter('where', '{"lat": 1.5}'), parameter('tags', "['a', 'b']"))}`,
    content: 'Look:\n',
    calls: [
      [
        'get_weather',
        '{"city":"New\\n\\"York\\"","days":3,"exact":true,"ratio":null,"where":{"lat": 1.5},"tags":["a","b"]}',
      ],
    ],
  },
  {
    name: 'qwen3_coder: strings that look like other types, types that do not fit',
    setup: { tool: 'qwen3_coder', tools },
    text: coder(parameter('city', '42'), parameter('days', 'many'), parameter('other', '{"x":1}')),
    calls: [['get_weather', '{"city":"42","days":"many","other":"{\\"x\\":1}"}']],
  },
  {
    name: 'qwen3_coder: no outer tag, no parameters, two calls, text',
    setup: { tool: 'nemotron_nano', tools },
    text: '<function=now>\n</function>\n<function=now></function> done',
    content: ' done',
    calls: [
      ['now', '{}'],
      ['now', '{}'],
    ],
  },
  {
    name: 'qwen3_coder: an end tag inside a value',
    setup: { tool: 'qwen3_coder', tools },
    text: coder(parameter('city', 'a</parameter> b </function> <parameter=x> c')),
    calls: [['get_weather', '{"city":"a</parameter> b </function> <parameter=x> c"}']],
  },
  {
    name: 'qwen3_coder: no function is text',
    setup: { tool: 'qwen3_coder' },
    text: '<tool_call>hello</tool_call>',
    content: '<tool_call>hello</tool_call>',
  },
  {
    name: 'qwen3_coder: cut off in a value',
    setup: { tool: 'qwen3_coder', tools },
    text: '<tool_call>\n<function=get_weather>\n<parameter=city>\nPar',
    calls: [['get_weather', '{"city":"Par', '…']],
  },
  {
    name: 'glm47',
    setup: { tool: 'glm47', tools },
    text: '<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n<arg_key>days</arg_key><arg_value>3</arg_value><arg_key>x</arg_key><arg_value>[1]</arg_value></tool_call><tool_call>now</tool_call>',
    calls: [
      ['get_weather', '{"city":"Paris","days":3,"x":[1]}'],
      ['now', '{}'],
    ],
  },
  {
    name: 'glm47: a marker that begins no call',
    setup: { tool: 'glm47', tools },
    text: 'The tag <tool_call> is: <tool_call>now</tool_call>',
    content: 'The tag <tool_call> is: ',
    calls: [['now', '{}']],
  },
  {
    name: 'qwen3_coder: a function that begins anew',
    setup: { tool: 'qwen3_coder', tools },
    text: '<tool_call><function=x <tool_call><function=now></function></tool_call>',
    content: '<tool_call><function=x ',
    calls: [['now', '{}']],
  },
  {
    name: 'gemma4: a marker that begins no call',
    setup: { tool: 'gemma4' },
    text: '<|tool_call>so <|tool_call>call:now{}<tool_call|>',
    content: '<|tool_call>so ',
    calls: [['now', '{}']],
  },
  {
    name: 'minimax_m2',
    setup: { tool: 'minimax_m2', tools },
    text: 'a\n<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Paris</parameter>\n<parameter name="days">3</parameter>\n</invoke>\n<invoke name="now">\n</invoke>\n</minimax:tool_call>',
    content: 'a\n',
    calls: [
      ['get_weather', '{"city":"Paris","days":3}'],
      ['now', '{}'],
    ],
  },
  {
    name: 'minimax_m3: nested elements',
    setup: { tool: 'minimax_m3', tools },
    text: `${m3}<tool_call>\n${m3}<invoke name="get_weather">${m3}<city>Paris${m3}</city>${m3}<where>${m3}<lat>1.5${m3}</lat>${m3}</where>${m3}<tags>${m3}<item>a${m3}</item>${m3}<item>b${m3}</item>${m3}</tags>${m3}</invoke>${m3}</tool_call>`,
    calls: [['get_weather', '{"city":"Paris","where":{"lat":1.5},"tags":["a","b"]}']],
  },
  {
    name: 'minimax_m3: members of what may be null',
    setup: { tool: 'minimax_m3', tools },
    text: `${m3}<tool_call>\n${m3}<invoke name="get_weather">${m3}<route>${m3}<stops>${m3}<item>3${m3}</item>${m3}</stops>${m3}<fast>true${m3}</fast>${m3}</route>${m3}</invoke>\n${m3}</tool_call>`,
    calls: [['get_weather', '{"route":{"stops":[3],"fast":true}}']],
  },
  {
    name: 'minimax_m3: cut off',
    setup: { tool: 'minimax_m3', tools },
    text: `${m3}<tool_call>${m3}<invoke name="get_weather">${m3}<days>3${m3}</days>${m3}<city>Pa`,
    calls: [['get_weather', '{"days":3', '…']],
  },
  {
    name: 'deepseek_v3_2: DSML with its empty line',
    setup: { tool: 'deepseek_v3_2', tools },
    text: 'Hm.\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name="get_weather">\n<｜DSML｜parameter name="city" string="true">杭州</｜DSML｜parameter>\n<｜DSML｜parameter name="days" string="false">5</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>',
    content: 'Hm.',
    calls: [['get_weather', '{"city":"杭州","days":5}']],
  },
  {
    name: 'deepseek_v4: DSML ends reasoning',
    setup: { tool: 'deepseek-v4', reasoning: 'deepseek_v4' },
    text: '<think>so\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="f">\n<｜DSML｜parameter name="a" string="false">{"b":1}</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>',
    reasoning: 'so',
    calls: [['f', '{"a":{"b":1}}']],
  },
  {
    name: 'kimi_k3: channels',
    setup: { tool: 'kimi_k3', reasoning: 'kimi_k3' },
    text: '<|open|>think<|sep|>hm<|close|>think<|sep|><|open|>response<|sep|>Hi<|close|>response<|sep|><|open|>tools<|sep|><|open|>call tool="f" index="1"<|sep|><|open|>argument key="a &quot;b&quot;" type="string"<|sep|>1 < 2<|close|>argument<|sep|><|open|>argument key="n" type="number"<|sep|>2<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools<|sep|>',
    content: 'Hi',
    reasoning: 'hm',
    calls: [['f', '{"a \\"b\\"":"1 < 2","n":2}']],
  },
  {
    name: 'pythonic: literals of every kind',
    setup: { tool: 'pythonic' },
    text: `[f(a=1, b="x\\n\\"y\\"", c='it\\'s \\u00e9', d=[True, None, (1.5, -2)], e={'k': {}, 2: False}), g()]`,
    calls: [
      ['f', '{"a":1,"b":"x\\n\\"y\\"","c":"it\'s é","d":[true,null,[1.5,-2]],"e":{"k":{},"2":false}}'],
      ['g', '{}'],
    ],
  },
  {
    name: 'pythonic: between its markers',
    setup: { tool: 'pythonic' },
    text: 'ok <|python_start|>[f(x=1)]<|python_end|>',
    content: 'ok ',
    calls: [['f', '{"x":1}']],
  },
  {
    name: 'pythonic: a list that is text',
    setup: { tool: 'pythonic' },
    text: '[1, 2] and (x)',
    content: '[1, 2] and (x)',
  },
  {
    name: 'pythonic: an unknown function is text',
    setup: { tool: 'pythonic', tools },
    text: '[sorted(a=1)]',
    content: '[sorted(a=1)]',
  },
  { name: 'pythonic: cut off', setup: { tool: 'pythonic' }, text: '[f(a="x', calls: [['f', '{"a":"x', '…']] },
  {
    name: 'gemma4: its notation',
    setup: { tool: 'gemma4' },
    text: '<|tool_call>call:f{city:<|"|>a, "b" }<|"|>,n:42,ok:true,l:[1,<|"|>x<|"|>],o:{k:null,z:raw}}<tool_call|><|tool_call>call:now{}<tool_call|>',
    calls: [
      ['f', '{"city":"a, \\"b\\" }","n":42,"ok":true,"l":[1,"x"],"o":{"k":null,"z":"raw"}}'],
      ['now', '{}'],
    ],
  },
  {
    name: 'gemma4: reasoning and cut off',
    setup: { tool: 'gemma4', reasoning: 'gemma4' },
    text: '<|channel>thought\nhm\n<channel|>Hi<|tool_call>call:f{a:<|"|>x',
    content: 'Hi',
    reasoning: 'hm\n',
    calls: [['f', '{"a":"x', '…']],
  },
  {
    name: 'harmony: reasoning, preamble, call',
    setup: { tool: 'harmony', reasoning: 'gpt_oss' },
    text: '<|channel|>analysis<|message|>think<|end|><|start|>assistant<|channel|>commentary<|message|>Now:<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city":"<|call|>"}<|call|>',
    content: 'Now:',
    reasoning: 'think',
    calls: [['get_weather', '{"city":"<|call|>"}']],
  },
  {
    name: 'harmony: final, recipient in the role',
    setup: { tool: 'harmony' },
    text: '<|start|>assistant to=functions.now<|channel|>commentary json<|message|>{}<|call|><|start|>assistant<|channel|>final<|message|>It is noon.<|return|>',
    content: 'It is noon.',
    calls: [['now', '{}']],
  },
  {
    name: 'harmony: reasoning alone, calls not wanted',
    setup: { reasoning: 'gpt_oss', choice: { mode: 'none' } },
    text: '<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b',
    content: 'b',
    reasoning: 'a',
  },
  {
    name: 'harmony: JSON forced after reasoning',
    setup: { tool: 'harmony', reasoning: 'gpt_oss', choice: { mode: 'required' } },
    text: '<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>[{"name":"now","parameters":{}}]<|return|>',
    reasoning: 'a',
    calls: [['now', '{}']],
  },
];
