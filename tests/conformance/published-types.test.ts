import type Anthropic from '@anthropic-ai/sdk';
import { expect } from 'chai';
import type OpenAI from 'openai';
import type { z } from 'zod';
import type { anthropicModel, tokenCount } from '#gateway/api/anthropic/answers.ts';
import type { deletedFile, fileObject } from '#gateway/api/files/answers.ts';
import type { chatChunk, chatCompletion, model } from '#gateway/api/schemas/responses.ts';

/** The parts of a published type that both have: which fields are absent is docs/compatibility.md's to say. */
type Shared<Ours, Published> = Pick<Published, keyof Ours & keyof Published>;

/** Compiles only where what we answer may be used as the published type; optional fields may be there and undefined. */
function usedAs<Ours, Published>(holds: Ours extends Loose<Shared<Ours, Published>> ? true : never): boolean {
  return holds;
}

type Loose<T> = T extends readonly (infer Item)[]
  ? readonly Loose<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: Loose<T[Key]> | (undefined extends T[Key] ? undefined : never) }
    : T;

type Answer<Schema extends z.ZodType> = z.infer<Schema>;

describe('published types of answers', () => {
  it('are what the gateway describes', () => {
    const checked = [
      usedAs<Answer<typeof chatCompletion>, OpenAI.ChatCompletion>(true),
      usedAs<Answer<typeof chatChunk>, OpenAI.ChatCompletionChunk>(true),
      usedAs<Answer<typeof model>, OpenAI.Model>(true),
      usedAs<Answer<typeof fileObject>, OpenAI.FileObject>(true),
      usedAs<Answer<typeof deletedFile>, OpenAI.FileDeleted>(true),
      usedAs<Answer<typeof anthropicModel>, Anthropic.ModelInfo>(true),
      usedAs<Answer<typeof tokenCount>, Anthropic.MessageTokensCount>(true),
    ];
    expect(checked).to.not.include(false);
  });
});
