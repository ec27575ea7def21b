/** What is below the Transit engine's mount. */
import { decrypt, encrypt, rewrap } from './crypt.ts';
import { dataKey } from './data-key.ts';
import type { VaultAnswer } from './answers.ts';
import type { TransitCall } from './call.ts';
import { decodedSecret } from './body.ts';
import { readFields, warningsOf, type Fields, type FieldTypes, type Values } from './fields.ts';
import { mac, verify } from './hmac.ts';
import { configure, create, list, read, remove, rotate } from './keys.ts';
import { random } from './random.ts';
import type { Handler, Parameters, TransitRoute } from './routes.ts';

export interface EngineInput<T extends FieldTypes> {
  /** The fields the route knows. @throws VaultFault */
  readonly values: () => Values<T>;
  /** The bytes of a text in base64, or what Go's decoder says of it. */
  readonly bytesOf: (text: string) => Buffer | string;
}

export interface EngineHandler<T extends FieldTypes> {
  /** What it knows: Vault warns of anything else. */
  readonly fields: T;
  /** Fields that the path says. */
  readonly inPath: readonly string[];
  /** There may be plaintexts in the body. */
  readonly hasSecrets?: boolean;
  readonly handle: (
    call: TransitCall,
    parameters: Parameters,
    input: EngineInput<T>,
  ) => VaultAnswer | Promise<VaultAnswer>;
}

function served<T extends FieldTypes>(handler: EngineHandler<T>): Handler {
  return async (call, parameters, body) => {
    let bytesOf: EngineInput<T>['bytesOf'] = decodedSecret;
    let fields: Fields;
    if (call.target.method !== 'POST') fields = queryFields(call.target.query);
    else if (handler.hasSecrets === true) ({ bytesOf, fields } = body.secretFields());
    else fields = body.fields();
    let values: Values<T> | undefined;
    const answer = await handler.handle(call, parameters, {
      bytesOf,
      values: () => (values ??= readFields(handler.fields, fields)),
    });
    if (answer.status !== 200) return answer;
    const warnings = warningsOf(handler.fields, handler.inPath, fields);
    return warnings.length === 0
      ? answer
      : { ...answer, warnings: [...(answer.warnings ?? []), ...warnings] };
  };
}

/** What a request without a body says. `list` made it the request it is. */
function queryFields(query: URLSearchParams): Fields {
  const fields = Object.create(null) as Record<string, unknown>;
  for (const name of query.keys()) {
    const values = query.getAll(name);
    if (name !== 'list') fields[name] = values.length === 1 ? values[0] : values;
  }
  return fields;
}

export const engineRoutes: readonly TransitRoute[] = [
  { path: 'keys', operation: 'list', methods: { LIST: served(list) } },
  { path: 'keys/', operation: 'list', methods: { LIST: served(list) } },
  {
    path: 'keys/{name}',
    operation: 'describe',
    methods: { GET: served(read), POST: served(create), DELETE: served(remove) },
  },
  { path: 'keys/{name}/config', operation: 'state', methods: { POST: served(configure) } },
  { path: 'keys/{name}/rotate', operation: 'rotate', methods: { POST: served(rotate) } },
  { path: 'encrypt/{name}', operation: 'encrypt', methods: { POST: served(encrypt) } },
  { path: 'decrypt/{name}', operation: 'unwrap', methods: { POST: served(decrypt) } },
  { path: 'rewrap/{name}', operation: 'rewrap', methods: { POST: served(rewrap) } },
  { path: 'datakey/{kind}/{name}', operation: 'issue', methods: { POST: served(dataKey) } },
  { path: 'hmac/{name}', operation: 'mac', methods: { POST: served(mac) } },
  { path: 'hmac/{name}/{algorithm}', operation: 'mac', methods: { POST: served(mac) } },
  { path: 'verify/{name}', operation: 'mac', methods: { POST: served(verify) } },
  { path: 'verify/{name}/{algorithm}', operation: 'mac', methods: { POST: served(verify) } },
  { path: 'random', operation: 'status', methods: { POST: served(random) } },
  { path: 'random/{bytes}', operation: 'status', methods: { POST: served(random) } },
  { path: 'random/{source}/{bytes}', operation: 'status', methods: { POST: served(random) } },
];
