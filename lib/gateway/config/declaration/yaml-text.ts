import type * as Yaml from 'yaml';
import { type References, replaceReferences, typedValue } from './references.ts';

/** Keys and list positions. */
export type Path = readonly (string | number)[];

export interface TextProblem {
  readonly line: number;
  readonly column: number;
  readonly path: Path;
  readonly text: string;
}

/** A parsed text of YAML or JSON, with positions. */
export interface ParsedText {
  readonly value: unknown;
  /** Problems of the text itself. If `isBroken`, `value` must not be used. */
  readonly problems: readonly TextProblem[];
  readonly isBroken: boolean;
  /** Position of the key of a value, or of a list item; if there is none, of the nearest value around it. */
  placeOf(path: Path): { readonly line: number; readonly column: number };
  /** Whether a value, or one inside it, comes from a variable or a file: it may be a secret. */
  isReferred(path: Path): boolean;
}

/** Most values, with each alias counted as all that it stands for. */
const MAX_VALUES = 100_000;
const MAX_PROBLEMS = 100;

/** Our own messages, because those of the parser show pieces of the text, which may be secrets. */
const SYNTAX: Readonly<Record<string, string>> = {
  BAD_ALIAS: 'an alias (*) is not valid',
  BAD_DIRECTIVE: 'a directive (%) is not valid',
  BAD_DQ_ESCAPE: 'an escape sequence in double quotes is not valid',
  BAD_INDENT:
    'the indentation does not fit (items of one list or mapping begin in the same column), or a bracket is not closed',
  BAD_SCALAR_START: 'a value that begins with this character needs quotes',
  BLOCK_AS_IMPLICIT_KEY:
    'a key must be on a line of its own: is a line break missing, or are quotes around a value with ": "?',
  BLOCK_IN_FLOW: 'a list or mapping within brackets must have brackets itself',
  MISSING_CHAR: 'something is missing here: a closing bracket or quote, a comma, or the colon after a key',
  MULTILINE_IMPLICIT_KEY: 'a key must be on one line: is the colon after it missing?',
  RESOURCE_EXHAUSTION: 'lists and mappings are nested too deeply',
  MULTIPLE_DOCS: 'there must be one document only (--- begins another one)',
  TAB_AS_INDENT: 'tabs cannot indent: use spaces',
  TAG_RESOLVE_FAILED: 'tags (!) other than those of YAML 1.2 cannot be used',
  UNEXPECTED_TOKEN: 'this cannot stand here: are quotes missing around a value, or is a bracket too many?',
};

/**
 * Reads YAML 1.2 or JSON, and replaces the references in its values.
 *
 * @param isJson Whether a quoted text that consists of one reference gets its type like an unquoted one. JSON has only quoted texts.
 */
export function parseText(yaml: typeof Yaml, text: string, references: References, isJson: boolean): ParsedText {
  return new TextReader(yaml, text, references, isJson).read();
}

class TextReader {
  readonly #yaml: typeof Yaml;
  readonly #text: string;
  readonly #references: References;
  readonly #isJson: boolean;
  readonly #lines: Yaml.LineCounter;
  readonly #problems: TextProblem[] = [];
  /** Offsets, by path. */
  readonly #places = new Map<string, number>();
  readonly #referred = new Set<string>();
  readonly #ancestors = new Set<unknown>();
  #doc: Yaml.Document.Parsed | undefined;
  #values = 0;

  constructor(yaml: typeof Yaml, text: string, references: References, isJson: boolean) {
    this.#yaml = yaml;
    this.#text = text;
    this.#references = references;
    this.#isJson = isJson;
    this.#lines = new yaml.LineCounter();
  }

  read(): ParsedText {
    let isBroken = true;
    let value: unknown;
    try {
      const doc = this.#yaml.parseDocument(this.#text, {
        schema: 'core',
        // The parser's own search for repeated keys takes quadratic time.
        uniqueKeys: false,
        prettyErrors: false,
        lineCounter: this.#lines,
      });
      this.#doc = doc;
      for (const { code, pos } of [...doc.errors, ...doc.warnings]) {
        this.#problem(pos[0], [], SYNTAX[code] ?? `is not valid YAML (${code})`);
      }
      if (doc.directives?.yaml.explicit === true && doc.directives.yaml.version !== '1.2')
        this.#problem(0, [], 'must be YAML 1.2');
      isBroken = this.#problems.length > 0;
      if (doc.contents === null) this.#problem(0, [], 'is empty: it needs services and routes');
      if (!isBroken) value = this.#valueOf(doc.contents, []);
      isBroken ||= doc.contents === null || this.#values > MAX_VALUES;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.#problem(0, [], SYNTAX.RESOURCE_EXHAUSTION as string);
      isBroken = true;
    }
    return {
      value,
      problems: this.#problems,
      isBroken,
      placeOf: (path) => this.#placeOf(path),
      isReferred: (path) => [...this.#referred].some((one) => one === keyOf(path) || one.startsWith(keyOf(path, ','))),
    };
  }

  #valueOf(node: unknown, path: Path): unknown {
    const { isAlias, isMap, isSeq, isScalar } = this.#yaml;
    this.#values += 1;
    const [offset = 0] = (node as Yaml.Node | null)?.range ?? [];
    if (this.#values > MAX_VALUES) {
      if (this.#values === MAX_VALUES + 1)
        this.#problem(offset, path, `there are more than ${MAX_VALUES} values, aliases counted`);
      return undefined;
    }
    if (isAlias(node)) {
      const target = node.resolve(this.#doc as Yaml.Document);
      if (target !== undefined && !this.#ancestors.has(target)) return this.#valueOf(target, path);
      this.#problem(offset, path, 'an alias (*) must stand for an anchor (&) before it');
      return UNKNOWN;
    }
    if (isScalar(node)) return this.#scalar(node, offset, path);
    this.#ancestors.add(node);
    let value: unknown = null;
    if (isMap(node)) value = this.#mapping(node, path);
    if (isSeq(node)) {
      value = node.items.map((item, index) => {
        const own = [...path, index];
        this.#places.set(keyOf(own), (item as Yaml.Node | null)?.range?.[0] ?? offset);
        return this.#valueOf(item, own);
      });
    }
    this.#ancestors.delete(node);
    return value;
  }

  #mapping(node: Yaml.YAMLMap, path: Path): object {
    const value: Record<string, unknown> = {};
    for (const { key, value: item } of node.items) {
      const [offset = 0] = (key as Yaml.Node | null)?.range ?? [];
      const name = this.#yaml.isScalar(key) && key.value !== null ? String(key.value) : undefined;
      if (name === undefined || name === '__proto__') {
        this.#problem(offset, path, 'a key must be a text');
        continue;
      }
      if (name === '<<') {
        this.#problem(offset, path, 'merge keys (<<) are not part of YAML 1.2: repeat the options here');
        continue;
      }
      const own = [...path, name];
      if (Object.hasOwn(value, name)) {
        const first = this.#placeOf(own);
        this.#problem(offset, path, `"${name}" is repeated: it is also in line ${first.line}`);
        continue;
      }
      this.#places.set(keyOf(own), offset);
      value[name] = this.#valueOf(item, own);
    }
    return value;
  }

  #scalar(node: Yaml.Scalar, offset: number, path: Path): unknown {
    if (typeof node.value !== 'string') return node.value;
    const replaced = replaceReferences(node.value, this.#references);
    if ('problem' in replaced) {
      this.#problem(offset, path, replaced.problem);
      // What a check accepts or not: the problem is reported already.
      return UNKNOWN;
    }
    if (replaced.kind !== 'none') this.#referred.add(keyOf(path));
    const isTyped = node.type === 'PLAIN' || (this.#isJson && /^\$(?:\w+|\{[^}]*\})$/.test(node.value));
    return replaced.kind === 'variables' && isTyped ? typedValue(replaced.text) : replaced.text;
  }

  #problem(offset: number, path: Path, text: string): void {
    if (this.#problems.length < MAX_PROBLEMS) this.#problems.push({ ...this.#position(offset), path, text });
  }

  #placeOf(path: Path): { line: number; column: number } {
    let offset: number | undefined;
    for (let length = path.length; offset === undefined && length > 0; length -= 1) {
      offset = this.#places.get(keyOf(path.slice(0, length)));
    }
    return this.#position(offset ?? 0);
  }

  #position(offset: number): { line: number; column: number } {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  }
}

/** Placeholder for a value that could not be read. */
const UNKNOWN = '';

const keyOf = (path: Path, end = ''): string => `${path.map((one) => JSON.stringify(one)).join()}${end}`;
