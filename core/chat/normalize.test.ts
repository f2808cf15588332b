import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { ChatPromptSchema } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { renderChat, TemplateCache } from './render.ts';

const show = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}";
const strict =
  "{% for m in messages %}{% if m['role'] == 'system' and not loop.first %}{{ raise_exception('System message must be at the beginning') }}{% endif %}" +
  "{% if loop.index0 > 0 and m['role'] == 'user' and messages[loop.index0 - 1]['role'] == 'user' %}{{ raise_exception('Roles must alternate') }}{% endif %}{% endfor %}" +
  show;

function rendered(template: string, messages: readonly (readonly [string, string])[], accommodates = true): string {
  const options = { now: new Date(0), nowMs: () => 0, maxMs: 1000, maxOutputLength: 10_000, accommodates };
  const prompt = create(ChatPromptSchema, {
    messages: messages.map(([role, value]) => ({
      role,
      content: [{ part: { case: 'text' as const, value } }],
      plainText: true,
    })),
  });
  const sources = { main: template, named: {} };
  const specialTokens = { bos: '', eos: '', unk: '', pad: '' };
  return renderChat(new TemplateCache({ limit: 2 }), sources, prompt, { ...options, specialTokens });
}

describe('conversations that templates refuse', () => {
  const long = [
    ['user', 'a'],
    ['user', 'b'],
    ['assistant', 'c'],
    ['system', 's'],
    ['user', 'd'],
    ['system', 't'],
  ] as const;

  it('have their system messages joined in front and turns of the user become one', () => {
    expect(rendered(strict, long)).to.equal('<system>s\n\nt<user>a\n\nb<assistant>c<user>d');
    expect(
      rendered(strict, [
        ['user', 'a'],
        ['system', 's'],
      ]),
    ).to.equal('<system>s<user>a');
  });

  it('stay as they are for templates that take them, and where nothing helps', () => {
    expect(rendered(show, long)).to.equal('<user>a<user>b<assistant>c<system>s<user>d<system>t');
    expect(() => rendered(strict, long, false)).to.throw('Roles must alternate');
    const never = "{{ raise_exception('No') }}";
    expect(() => rendered(never, long)).to.throw('No');
    expect(() => rendered(never, [['user', 'a']])).to.throw('No');
  });
});
