import { create } from '@bufbuild/protobuf';
import { type ChatMessage, type ContentPart, type Media, MediaSchema } from '#gen/stator/chat/v1/chat_pb.ts';
import { type ChatPrompt, ChatPromptSchema } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { packageVersion } from '#lib/config/package.ts';
import type { SettingsOf } from '#lib/config/settings.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { Fetcher } from '#lib/fetch/fetcher.ts';
import { openResolver } from '#lib/fetch/resolve.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { decodeDataUrl, tooLarge } from './data-url.ts';
import { isOfModality, sniff } from './kinds.ts';
import type { mediaSettings } from './settings.ts';

type MediaConfig = SettingsOf<typeof mediaSettings>;

/** One medium of a conversation. */
interface Place {
  readonly part: ContentPart;
  readonly media: Media;
  /** The client's name of it. */
  readonly field: string;
}

/** Bytes that the media of one request may still have. */
interface Budget {
  left: number;
}

const mebibyte = 1024 * 1024;

/**
 * Puts the bytes of media where conversations name or quote them. Engines and tokenizers get bytes, never URLs: whatever is
 * fetched is fetched here, by rules that callers cannot change.
 */
export class MediaLoader {
  readonly #config: MediaConfig;
  readonly #fetcher: Fetcher;

  /** Throws `invalid_argument` for hosts and networks that are none. */
  constructor(config: MediaConfig, telemetry: Telemetry) {
    this.#config = config;
    this.#fetcher = new Fetcher({
      policy: {
        protocols: config.mediaUrls === 'https' ? ['https:'] : ['https:', 'http:'],
        ports: config.mediaPorts.map(portOf),
        allowedHosts: config.mediaAllowedHosts,
        deniedHosts: config.mediaDeniedHosts,
        allowedNetworks: config.mediaAllowedNetworks,
      },
      limits: {
        maxBytes: Math.floor(config.mediaMaxMib * mebibyte),
        timeoutMs: config.mediaTimeoutSeconds * 1000,
        maxRedirects: config.mediaRedirects,
        maxRunning: config.mediaFetches,
        maxWaiting: config.mediaFetchQueue,
      },
      telemetry,
      userAgent: `stator/${packageVersion()}`,
      resolver: openResolver(config.mediaNameServers),
    });
  }

  /** The conversation with the bytes of its media; the same one where it has none. Throws StatorError that names the part. */
  async load(prompt: ChatPrompt, signal: AbortSignal): Promise<ChatPrompt> {
    const places = placesOf(prompt.messages);
    if (places.length === 0) return prompt;
    const { mediaPerRequest, mediaRequestMib } = this.#config;
    if (places.length > mediaPerRequest) {
      const message = `A request may hold ${mediaPerRequest} media (media-per-request); this one holds ${places.length}`;
      throw StatorError.invalid('messages', message);
    }
    const budget = { left: Math.floor(mediaRequestMib * mebibyte) };
    const failed = new AbortController();
    const either = AbortSignal.any([signal, failed.signal]);
    const loading = places.map((place) => this.#loadOne(place, budget, either));
    try {
      const loaded = new Map(await Promise.all(loading));
      return create(ChatPromptSchema, { ...prompt, messages: prompt.messages.map((one) => withMedia(one, loaded)) });
    } catch (thrown) {
      failed.abort(thrown);
      throw thrown;
    }
  }

  async #loadOne(place: Place, budget: Budget, signal: AbortSignal): Promise<[ContentPart, Media]> {
    const { part, media, field } = place;
    const { modality, uuid } = media;
    const bytes = await this.#bytesOf(place, signal);
    const type = sniff(bytes);
    if (type === null || !isOfModality(type, modality))
      throw StatorError.invalid(field, `\`${field}\` is no ${modality} of a known format`);
    if (bytes.length > budget.left) throw tooLarge(field, Math.floor(this.#config.mediaRequestMib * mebibyte));
    budget.left -= bytes.length;
    return [part, create(MediaSchema, { modality, uuid, mimeType: type, source: { case: 'data', value: bytes } })];
  }

  async #bytesOf({ media, field }: Place, signal: AbortSignal): Promise<Uint8Array> {
    const { source, modality } = media;
    const { mediaUrls, mediaMaxMib } = this.#config;
    const maxBytes = Math.floor(mediaMaxMib * mebibyte);
    if (source.case === 'data') {
      if (source.value.length > maxBytes) throw tooLarge(field, maxBytes);
      return source.value;
    }
    const url = source.value ?? '';
    if (/^data:/i.test(url)) return decodeDataUrl(url, field, maxBytes);
    if (mediaUrls === 'none')
      throw StatorError.unsupported(field, `\`${field}\`: media are not fetched here; send a data: URL`);
    const types = [`${modality}/`, 'application/octet-stream', 'binary/octet-stream'];
    return (await this.#fetcher.fetch({ url, field, types, signal })).bytes;
  }
}

function portOf(text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port > 0 && port < 65_536) return port;
  throw StatorError.invalid('media-ports', `media-ports: ${JSON.stringify(text)} is no port`);
}

function placesOf(messages: readonly ChatMessage[]): Place[] {
  return messages.flatMap(({ content }, index) =>
    content.flatMap((part, place) =>
      part.part.case === 'media'
        ? [{ part, media: part.part.value, field: `messages[${index}].content[${place}]` }]
        : [],
    ),
  );
}

function withMedia(message: ChatMessage, loaded: ReadonlyMap<ContentPart, Media>): ChatMessage {
  if (!message.content.some((part) => loaded.has(part))) return message;
  const content = message.content.map((part): ContentPart => {
    const value = loaded.get(part);
    return value === undefined ? part : { ...part, part: { case: 'media', value } };
  });
  return { ...message, content };
}
