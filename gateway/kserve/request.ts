import type { ModelInferRequest } from '#gen/inference/kserve_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { FieldNames } from '../api/field-names.ts';
import { completionRequest } from '../api/schemas/completion.ts';
import { translateCompletion } from '../api/translate/completion.ts';
import type { HeaderWishes } from '../api/translate/header-wishes.ts';
import type { Job } from '../api/translate/job.ts';
import { translateInput } from '../api/translate-input.ts';
import { validateBody } from '../api/validate.ts';
import type { GatewayContext } from '../context.ts';
import type { ResolvedModel } from '../models/catalog.ts';
import { nameOf } from './models.ts';
import { bodyParameters, readParameters } from './parameters.ts';
import { readInputs } from './tensors.ts';

const outputNames = ['text_output', 'finish_reason'] as const;

export type OutputName = (typeof outputNames)[number];

/** A request of this API as the pipeline runs it, and how it is answered. */
export interface TensorJob {
  readonly job: Job;
  readonly stream: boolean;
  readonly id: string;
  readonly modelName: string;
  readonly outputs: readonly OutputName[];
  /** Whether elements are told in the raw form, as the request's own were: its client may read no other. */
  readonly raw: boolean;
}

/** What a client of this API calls the fields of a completion. */
export const fieldNames = new FieldNames(
  [
    [/^model$/, 'model_name'],
    [/^prompt$/, 'text_input'],
    [new RegExp(`^(?=(${bodyParameters.join('|')})($|[.[]))`), 'parameters.'],
  ],
  'text_input',
);

/** Checks and translates a request: it is a completion. Throws StatorError in the client's words. */
export function tensorJob(
  ctx: GatewayContext,
  model: ResolvedModel,
  request: ModelInferRequest,
  metadata: HeaderWishes,
): TensorJob {
  const outputs = outputsOf(request, outputNames);
  const { text, stream } = readInputs(request);
  const { body, headers } = readParameters(request.parameters, metadata);
  const { id } = request;
  const user = id === '' || id.length > 512 ? {} : { user: id };
  try {
    const valid = validateBody(completionRequest, { ...user, ...body, model: request.modelName, prompt: text });
    const job = translateCompletion(valid, model, headers, translateInput(ctx));
    const raw = request.rawInputContents.length > 0;
    return { job, stream, id, modelName: nameOf(model), outputs, raw };
  } catch (thrown) {
    throw fieldNames.inClientTerms(StatorError.from(thrown));
  }
}

/** Throws `invalid_argument` for an output that there is not. */
export function outputsOf<T extends string>({ outputs }: ModelInferRequest, names: readonly T[]): readonly T[] {
  if (outputs.length === 0) return names;
  for (const { name, parameters } of outputs) {
    const shown = name.slice(0, 100);
    if (!names.some((known) => known === name)) {
      const message = `The output \`${shown}\` is not known: there ${names.length > 1 ? 'are' : 'is'} \`${names.join('` and `')}\``;
      throw StatorError.invalid(shown, message);
    }
    const [option] = Object.keys(parameters);
    if (option !== undefined) {
      const field = `${shown}.${option.slice(0, 100)}`;
      throw StatorError.unsupported(field, `\`${field}\` is not supported: outputs have no options`);
    }
  }
  return names.filter((known) => outputs.some(({ name }) => name === known));
}
