import { z } from 'zod';

const textPart = z.strictObject({ type: z.literal('text'), text: z.string() });
const refusalPart = z.strictObject({ type: z.literal('refusal'), refusal: z.string() });
const mediaSource = z.strictObject({
  url: z.string().min(1),
  detail: z.enum(['auto', 'low', 'high']).nullish(),
  uuid: z.string().max(256).nullish(),
});
const imagePart = z.strictObject({ type: z.literal('image_url'), image_url: mediaSource });
const videoPart = z.strictObject({ type: z.literal('video_url'), video_url: mediaSource });
const audioPart = z.strictObject({ type: z.literal('audio_url'), audio_url: mediaSource });
const inputAudioPart = z.strictObject({
  type: z.literal('input_audio'),
  input_audio: z.strictObject({ data: z.base64(), format: z.string().min(1).max(32) }),
});

const textParts = z.union([z.string(), z.array(textPart).min(1)]);
const userParts = z.discriminatedUnion('type', [textPart, imagePart, videoPart, audioPart, inputAudioPart]);
const name = z.string().max(128).nullish();

export const toolCall = z.strictObject({
  id: z.string().min(1),
  type: z.literal('function'),
  function: z.strictObject({
    name: z.string().min(1).max(128),
    arguments: z.string(),
    parsed_arguments: z.unknown().optional().describe("The client's own reading of arguments, which is what counts."),
  }),
  index: z.int().nullish(),
});

const systemMessage = z.strictObject({ role: z.literal('system'), content: textParts, name });
const developerMessage = z.strictObject({ role: z.literal('developer'), content: textParts, name });
const userMessage = z.strictObject({
  role: z.literal('user'),
  content: z.union([z.string(), z.array(userParts).min(1)]),
  name,
});
/** What clients that keep an answer's fields beside its text send back with it; the message's own fields are what counts. */
const echoed = {
  role: z.literal('assistant').optional().describe("An echo of the answer's field, like the others below."),
  tool_calls: z.array(z.unknown()).nullish(),
  reasoning_content: z.string().nullish(),
  reasoning: z.string().nullish(),
  annotations: z.array(z.unknown()).nullish(),
  audio: z.null().optional(),
  function_call: z.null().optional(),
};
const saidPart = textPart.extend({ ...echoed, refusal: z.null().optional() });
const assistantMessage = z.strictObject({
  role: z.literal('assistant'),
  content: z.union([z.string(), z.array(z.discriminatedUnion('type', [saidPart, refusalPart])).min(1)]).nullish(),
  name,
  tool_calls: z.array(toolCall).nullish(),
  reasoning_content: z.string().nullish(),
  reasoning: z.string().nullish().describe('Another name of reasoning_content.'),
  refusal: z.string().nullish(),
  parsed: z.unknown().optional().describe("The client's own reading of content, which is what counts."),
  annotations: z.array(z.unknown()).max(0).nullish(),
  audio: z.null().optional(),
  function_call: z.null().optional(),
});
const toolMessage = z.strictObject({
  role: z.literal('tool'),
  content: textParts,
  tool_call_id: z.string().min(1),
  name,
});

export const message = z
  .discriminatedUnion('role', [systemMessage, developerMessage, userMessage, assistantMessage, toolMessage])
  .meta({ id: 'ChatMessage' });

export type Message = z.infer<typeof message>;

export const tool = z
  .strictObject({
    type: z.literal('function'),
    function: z.strictObject({
      name: z.string().min(1).max(128),
      description: z.string().nullish(),
      parameters: z.record(z.string(), z.unknown()).nullish(),
      strict: z.boolean().nullish(),
    }),
  })
  .meta({ id: 'Tool' });

export type Tool = z.infer<typeof tool>;
