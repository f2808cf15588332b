import { readFileSync } from 'node:fs';
import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { type WrittenAnswer, writers } from '#cli/probe/writers.ts';
import { Detokenizer } from '#core/tokens/detokenizer.ts';
import { formatsOf, markupOf } from '#gateway/parsing/formats.ts';
import { foldParts } from '#gateway/parsing/parts.ts';
import { createAnswerParser } from '#gateway/parsing/wishes.ts';
import { Choice } from '#gateway/pipeline/choice.ts';
import { ModelTokens } from '#gateway/tokenizer/token-tables.ts';
import { ModelCardSchema } from '#gen/stator/model/v1/model_pb.ts';
import { TokenTableSchema } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { type PackagedModel, packagedCard, packagedFile } from '#services/tokenizer/testing/models.ts';
import { loadHuggingFace } from '#services/tokenizer/vocabularies/hugging-face.ts';
import type { Vocabulary } from '#services/tokenizer/vocabulary.ts';

/** Models with the parsers of their families. */
const models: readonly (readonly [PackagedModel, tool: string, reasoning: string])[] = [
  ['qwen3', 'hermes', 'qwen3'],
  ['mistral_nemo', 'mistral', 'mistral'],
  ['deepseek_v3', 'deepseek_v3', 'deepseek_r1'],
  ['gptoss', 'harmony', 'gpt_oss'],
  ['llama3_1', 'llama3_json', 'none'],
];
const city = 'Zürich "Süd" 東京 😀';
const answers: Readonly<Record<string, WrittenAnswer>> = {
  text: { text: 'It is 5 < 6.', calls: [] },
  'reasoning and text': { thought: 'Let me see.', text: 'It is 7.', calls: [] },
  'two calls': { calls: [1, 2].map((days) => ({ name: 'get_weather', args: { city, days } })) },
  'reasoning and a call': { thought: 'So.', calls: [{ name: 'get_weather', args: { city, days: 1 } }] },
};
const tools = [
  {
    name: 'get_weather',
    parameters: { type: 'object', properties: { city: { type: 'string' }, days: { type: 'integer' } } },
  },
];

/** What the gateway makes of the tokens that a model would have generated. */
async function read(
  vocabulary: Vocabulary,
  parsers: { tool: string; reasoning: string },
  text: string,
  thinks: boolean,
) {
  const tokens = new ModelTokens(
    create(TokenTableSchema, { ...vocabulary.data, eosTokenIds: [...vocabulary.eosTokenIds] }),
  );
  const formats = formatsOf(
    create(ModelCardSchema, { toolCallParser: parsers.tool, reasoningParser: parsers.reasoning }),
  );
  const wishes = {
    formats,
    tools,
    toolChoice: { mode: 'auto' },
    parallelToolCalls: true,
    structured: false,
    thinking: null,
    continuesReasoning: null,
    showReasoning: true,
    fillsContent: false,
  } as const;
  const parser = createAnswerParser(wishes, thinks ? 'format' : 'content');
  const detokenizer = new Detokenizer(tokens.tableWith(markupOf(formats)), { specialTokens: false });
  const choice = new Choice(0, { detokenizer, stops: null, minTokens: 0, parser });
  for (const tokenId of await vocabulary.encoder.encode(text)) choice.push(tokenId);
  choice.end('stop', null);
  return { ...foldParts(choice.takeParts()), reasoningTokens: parser.reasoningTokens };
}

describe('answers in real vocabularies', function () {
  this.timeout(60_000);
  for (const [model, tool, reasoning] of models) {
    describe(model, () => {
      let vocabulary: Vocabulary;

      before(async () => {
        const files = {
          tokenizerJson: packagedFile(model, 'tokenizer.json'),
          tokenizerConfig: packagedFile(model, 'tokenizer_config.json'),
        };
        vocabulary = await loadHuggingFace(files, packagedCard(model));
      });

      after(() => vocabulary?.close());

      for (const [name, answer] of Object.entries(answers)) {
        if (answer.thought !== undefined && reasoning === 'none') continue;
        it(`reads ${name}, whichever tokens are special`, async () => {
          const writer = writers.find((one) => one.tool === tool);
          const text = writer?.write(answer) ?? expect.fail('there is no writer');
          const found = await read(vocabulary, { tool, reasoning }, text, answer.thought !== undefined);
          expect(found.content.trim()).to.equal(answer.text ?? '');
          expect(found.reasoning.trim()).to.equal(answer.thought ?? '');
          expect(found.calls.map((call) => [call.name, JSON.parse(call.arguments)])).to.deep.equal(
            answer.calls.map((call) => [call.name, call.args]),
          );
          expect(found.reasoningTokens > 0).to.equal(answer.thought !== undefined);
        });
      }
    });
  }

  it('are read by what the models’ own chat templates show', () => {
    const shown = (model: PackagedModel): (string | undefined)[] => {
      const config = JSON.parse(readFileSync(packagedFile(model, 'tokenizer_config.json'), 'utf8')) as {
        chat_template?: string;
      };
      const card = create(ModelCardSchema, { tokenizer: { chatTemplate: config.chat_template ?? '' } });
      const { tool, reasoning } = formatsOf(card);
      return [tool?.names[0], reasoning?.names[0]];
    };
    expect(shown('qwen3')).to.deep.equal(['hermes', 'basic']);
    expect(shown('mistral_nemo')).to.deep.equal(['mistral', undefined]);
    expect(shown('deepseek_v3')[0]).to.equal('deepseek_v3');
    // Templates that know no tools.
    expect(shown('llama3_1')).to.deep.equal(['hermes', undefined]);
    expect(shown('gemma3')).to.deep.equal(['hermes', undefined]);
  });
});
