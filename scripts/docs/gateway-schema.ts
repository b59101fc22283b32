import { join } from 'node:path';
import type { JsonSchema } from '../../lib/core/options.ts';
import { declarationCheck } from '../../lib/routing/declaration.ts';
import { declarationOf, type Member, membersOf } from './declarations.ts';

/** Interfaces that no type of an option names: the policies are found by their registry. */
const POLICIES = [
  ['HashOptions', 'lib/backends/selection/hash.ts'],
  ['StickyOptions', 'lib/backends/selection/sticky-cookie.ts'],
] as const;

type Schemas = Readonly<Record<string, JsonSchema>>;

const REFERENCE = { $ref: '#/$defs/reference' };

const EXAMPLE = {
  services: {
    users: { backends: ['http://localhost:3001', 'http://localhost:3002'], healthCheck: { path: '/healthz' } },
  },
  routes: [{ path: '/users', service: 'users', rateLimit: '100/1m' }],
};

/** The text of `gateway.schema.json`: what the checks of a declaration accept, with the docstrings of its options. */
export function gatewaySchema(root: string): string {
  const { type, ...declaration } = described(
    declarationCheck.schema as JsonSchema,
    'Declaration',
    join(root, 'lib/routing/declaration.ts'),
  );
  const schema = {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Services and routes of an Expressway gateway (GATEWAY_CONFIG)',
    description: 'The options of serviceRouter(). See docs/services.md.',
    type,
    ...withReferences(declaration),
    examples: [EXAMPLE],
    $defs: {
      reference: {
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it shows what to write.
        description: '$VAR, ${VAR:-default} or ${file:path}; $$ is a dollar sign.',
        type: 'string',
        pattern: '\\$',
      },
    },
  };
  return `${JSON.stringify(schema, null, 2)}\n`;
}

/** Puts the docstrings of an interface into the schema of an object, and so on into what is in it. */
function described(schema: JsonSchema, name: string, file: string): JsonSchema {
  const members = new Map(interfaceMembers(name, file).map((one) => [one.name, one]));
  const home = homeOf(name, file);
  const properties = Object.entries((schema.properties ?? {}) as Schemas).map(([key, own]) => {
    const member = members.get(key);
    if (member === undefined) throw new Error(`${file}: ${name} has no option ${key}`);
    return [key, { description: plain(member.doc), ...within(own, member.type, home) }] as const;
  });
  return { ...schema, properties: Object.fromEntries(properties) };
}

/** Looks for the interface of each object in a schema among those that a type names. */
function within(schema: JsonSchema, type: string, file: string): JsonSchema {
  const { properties, items, additionalProperties, anyOf } = schema as {
    properties?: Schemas;
    items?: JsonSchema;
    additionalProperties?: JsonSchema | boolean;
    anyOf?: readonly JsonSchema[];
  };
  const inner = (one: JsonSchema) => within(one, type, file);
  if (properties !== undefined) {
    const named = (type.match(/\b[A-Z]\w+/g) ?? []).map((name) => [name, file] as const);
    const found = [...named, ...POLICIES].find(([name, from]) => hasAll(name, from, Object.keys(properties)));
    return found === undefined ? schema : described(schema, ...found);
  }
  return {
    ...schema,
    ...(items === undefined ? {} : { items: inner(items) }),
    ...(typeof additionalProperties === 'object' ? { additionalProperties: inner(additionalProperties) } : {}),
    ...(anyOf === undefined ? {} : { anyOf: anyOf.map(inner) }),
  };
}

function interfaceMembers(name: string, file: string): Member[] {
  return membersOf(file, name);
}

function hasAll(name: string, file: string, keys: readonly string[]): boolean {
  try {
    const names = interfaceMembers(name, file).map((one) => one.name);
    return keys.every((key) => names.includes(key));
  } catch {
    // A type that is no interface, or has members without docstrings.
    return false;
  }
}

/** The file in which the types of its members can be found. */
function homeOf(name: string, file: string): string {
  const { file: declared, source } = declarationOf(
    file,
    name,
    new RegExp(`^(?:export )?(?:interface|type) ${name}\\b`),
  );
  const base = new RegExp(`^(?:export )?type ${name} = (?:Omit|Pick)<\\s*(\\w+)`, 'm').exec(source)?.[1];
  return base === undefined ? declared : homeOf(base, declared);
}

const plain = (doc: string): string =>
  doc
    .replace(/\{@link (\w+)\}/g, '$1')
    .replace(/@default ([^\n]+)/g, 'Default: $1.')
    .replace(/@(?:see|throws) [^\n]+/g, '')
    .replace(/\s+/g, ' ')
    .trim();

/** Wherever the form of a value matters, a reference may stand for it. */
function withReferences(schema: JsonSchema): JsonSchema {
  const { description, default: standard, ...rest } = schema;
  const outer = {
    ...(description === undefined ? {} : { description }),
    ...(isShown(standard) ? { default: standard } : {}),
  };
  if (isConstrained(rest)) return { ...outer, anyOf: [rest, REFERENCE] };
  const inner = Object.entries(rest).map(([keyword, value]) => {
    if (keyword === 'properties') {
      const all = Object.entries(value as Schemas).map(([key, one]) => [key, withReferences(one)]);
      return [keyword, Object.fromEntries(all)];
    }
    if (keyword === 'anyOf') return [keyword, withReference((value as JsonSchema[]).map(withReferences))];
    const isSchema = (keyword === 'items' || keyword === 'additionalProperties') && typeof value === 'object';
    return [keyword, isSchema ? withReferences(value as JsonSchema) : value];
  });
  return { ...outer, ...Object.fromEntries(inner) };
}

/** Defaults of groups are those of their options. */
const isShown = (standard: unknown): boolean =>
  standard !== undefined && typeof standard !== 'object' && standard !== Number.POSITIVE_INFINITY;

/** Once is enough for several forms of a value. */
function withReference(forms: readonly JsonSchema[]): JsonSchema[] {
  const flat = forms.flatMap((form) =>
    Array.isArray(form.anyOf) && Object.keys(form).length === 1 ? form.anyOf : form,
  );
  const others = flat.filter((form) => form.$ref !== REFERENCE.$ref);
  return others.length === flat.length ? others : [...others, REFERENCE];
}

function isConstrained({ type, enum: values, const: constant, pattern, minLength }: JsonSchema): boolean {
  if (values !== undefined || constant !== undefined) return true;
  if (type === 'string') return pattern !== undefined || minLength !== undefined;
  return type === 'integer' || type === 'number' || type === 'boolean';
}
